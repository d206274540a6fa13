//! `meshctl multicluster`: gateway, service mirror, and links between clusters.

mod gateways;
mod install;
mod link;

use crate::check;
use crate::globals::Globals;
use std::process::ExitCode;

/// Subcommands of `meshctl multicluster`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the manifests of gateway and service mirror, for kubectl apply.
    Install(Box<install::Args>),
    /// Print what to delete to be rid of the extension, for kubectl delete.
    Uninstall(install::UninstallArgs),
    /// Link two clusters: --context exports, --to-context imports; without --to-context, print Linkerd's objects.
    Link(Box<link::Args>),
    /// Print the objects that link the importing cluster to the one of --context.
    LinkGen(Box<link::GenArgs>),
    /// Print the objects of a link, for kubectl delete.
    Unlink(link::UnlinkArgs),
    /// Check the links of this cluster.
    Check(check::MulticlusterArgs),
    /// Show how the gateways of linked clusters are doing.
    Gateways(gateways::Args),
}

/// Runs a subcommand.
pub(crate) async fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::Install(args) => install::run(*args, globals).await,
        Command::Uninstall(args) => install::uninstall(args, globals).await,
        Command::Link(args) => link::run(*args, globals).await,
        Command::LinkGen(args) => link::generate(*args, globals).await,
        Command::Unlink(args) => link::unlink(args, globals).await,
        Command::Check(args) => check::run_multicluster(args, globals).await,
        Command::Gateways(args) => gateways::run(args, globals).await,
    }
}
