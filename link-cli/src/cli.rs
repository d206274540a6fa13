//! The command line: one variant per command, one module per command.
//!
//! A command is a `clap::Args` struct (or a `Subcommand` enum) and a `run(args, &Globals)` in its own module;
//! adding one means a variant here and a line in [`dispatch`].

use crate::globals::Globals;
use crate::{install, trust, version};
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::future::Future;
use std::process::ExitCode;

/// Installs Isthmus into a Kubernetes cluster, adds workloads to the mesh, links clusters, and runs sandbox
/// clusters on this machine.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the manifests of the control plane, for kubectl apply.
    Install(Box<install::Args>),
    /// Make the certificates that linked clusters share.
    #[command(subcommand)]
    Trust(trust::Command),
    /// Print the version of meshctl, and of the control plane it reaches.
    Version(version::Args),
}

impl Cli {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(dispatch(self.command, &self.globals))
    }
}

async fn dispatch(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::Install(args) => install::run(*args, globals).await,
        Command::Trust(command) => trust::run(command, globals),
        Command::Version(args) => version::run(args, globals).await,
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(future)
}
