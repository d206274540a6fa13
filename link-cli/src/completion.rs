//! `meshctl completion`: scripts that complete command lines.

use crate::cli::Cli;
use clap::CommandFactory;
use std::process::ExitCode;

/// Arguments of `meshctl completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  source <(meshctl completion bash)")]
pub(crate) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "meshctl", &mut script);
    // A reader that has seen enough is no failure.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    ExitCode::SUCCESS
}
