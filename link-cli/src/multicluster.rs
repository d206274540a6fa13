//! `meshctl multicluster`: gateway, service mirror, and links between clusters.

mod install;

use crate::globals::Globals;
use std::process::ExitCode;

/// Subcommands of `meshctl multicluster`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the manifests of gateway and service mirror, for kubectl apply.
    Install(Box<install::Args>),
    /// Print what to delete to be rid of the extension, for kubectl delete.
    Uninstall(install::UninstallArgs),
}

/// Runs a subcommand.
pub(crate) async fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::Install(args) => install::run(*args, globals).await,
        Command::Uninstall(args) => install::uninstall(args, globals).await,
    }
}
