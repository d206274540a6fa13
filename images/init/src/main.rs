//! The init image: prepares a pod's network (`redirect`), proves it (`validate`), and keeps a pod that has nothing
//! but a proxy alive (`pause`).

mod redirect;
mod validate;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Prepares the network of a meshed pod.
#[derive(Debug, Parser)]
#[command(name = "isthmus-init", version = mesh_types::built_as!(), arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the rules that send the pod's TCP traffic through its proxy (needs NET_ADMIN).
    Redirect(redirect::Args),
    /// Prove that outbound connections are redirected; exits with 95 when they are not.
    Validate(validate::Args),
    /// Do nothing until told to stop: the main container of a gateway.
    Pause,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Redirect(args) => redirect::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Validate(args) => Ok(validate::run(&args)),
        Command::Pause => pause().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("isthmus-init: {error:#}");
        ExitCode::FAILURE
    })
}

fn pause() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}
