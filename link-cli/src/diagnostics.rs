//! `meshctl diagnostics`: what the control plane would tell a proxy, asked the way a proxy asks.

mod endpoints;
mod policy;
mod reach;

use crate::globals::Globals;
use std::process::ExitCode;

/// Subcommands of `meshctl diagnostics`.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the endpoints behind names such as catalog.shop.svc.cluster.local:80
    #[command(visible_alias = "ep")]
    Endpoints(endpoints::Args),
    /// Show the policy of a workload's port, or that of reaching a Service
    Policy(policy::Args),
}

/// Runs a subcommand.
pub(crate) async fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::Endpoints(args) => endpoints::run(args, globals).await,
        Command::Policy(args) => policy::run(args, globals).await,
    }
}
