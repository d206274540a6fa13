//! The command line: one variant per command, one module per command.
//!
//! A command is a `clap::Args` struct (or a `Subcommand` enum) and a `run(args, &Globals)` in its own module;
//! adding one means a variant here and a line in [`Cli::run`].

use crate::globals::Globals;
use crate::{
    check, completion, diagnostics, inject, install, multicluster, prune, sandbox, trust, uninstall, upgrade,
    version,
};
use anyhow::Context;
use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

/// Installs Isthmus into a Kubernetes cluster, adds workloads to the mesh, links clusters, and runs sandbox
/// clusters on this machine.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version = crate::own_version(), arg_required_else_help = true, max_term_width = 110)]
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
    /// Print the manifests of the installed control plane as this version would have them.
    Upgrade(Box<upgrade::Args>),
    /// Print what an earlier version installed and this one does not, for kubectl delete.
    Prune(prune::Args),
    /// Print what to delete to be rid of the control plane, for kubectl delete.
    Uninstall(uninstall::Args),
    /// Check the cluster and the mesh in it.
    Check(check::Args),
    /// Add workloads to the mesh.
    Inject(Box<inject::Args>),
    /// Take workloads out of the mesh.
    Uninject(inject::UninjectArgs),
    /// Join clusters: gateway, service mirror, links.
    #[command(subcommand, visible_alias = "mc")]
    Multicluster(multicluster::Command),
    /// Ask the control plane what it would tell a proxy.
    #[command(subcommand, visible_alias = "dg")]
    Diagnostics(diagnostics::Command),
    /// Make the certificates that linked clusters share.
    #[command(subcommand)]
    Trust(trust::Command),
    /// Print the version of meshctl, and of the control plane it reaches.
    Version(version::Args),
    /// Print a script that completes command lines of meshctl.
    Completion(completion::Args),
    /// Run whole clusters on this machine.
    #[command(subcommand)]
    Sandbox(sandbox::Command),
}

impl Cli {
    /// The command line of this process; on a wrong one it says so and ends.
    pub(crate) fn of_process() -> Self {
        Self::parse_from(namespace_last(std::env::args_os().collect()))
    }

    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let globals = &self.globals;
        match self.command {
            Command::Install(args) => block_on(install::run(*args, globals)),
            Command::Upgrade(args) => block_on(upgrade::run(*args, globals)),
            Command::Prune(args) => block_on(prune::run(args, globals)),
            Command::Uninstall(args) => block_on(uninstall::run(args, globals)),
            Command::Check(args) => block_on(check::run(args, globals)),
            Command::Inject(args) => block_on(inject::run(*args, globals)),
            Command::Uninject(args) => inject::uninject(&args),
            Command::Multicluster(command) => block_on(multicluster::run(command, globals)),
            Command::Diagnostics(command) => block_on(diagnostics::run(command, globals)),
            Command::Trust(command) => trust::run(command, globals),
            Command::Version(args) => block_on(version::run(args, globals)),
            Command::Completion(args) => Ok(completion::run(&args)),
            // The supervisor owns its threads: no runtime may be around it.
            Command::Sandbox(command) => sandbox::run(command),
        }
    }
}

/// Moves a namespace that is given before the command, as in `meshctl -n shop check`, to where the command's own flags are.
fn namespace_last(mut args: Vec<OsString>) -> Vec<OsString> {
    let cli = Cli::command();
    let is_command = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        cli.get_subcommands().any(|c| c.get_name() == arg || c.get_all_aliases().any(|alias| alias == arg))
    };
    let Some(command) = args.iter().skip(1).position(is_command).map(|at| at + 1) else { return args };
    let before = args[1..command].iter().map(|arg| arg.to_string_lossy());
    let mut flags = before.enumerate().map(|(at, arg)| (at + 1, arg));
    let given = flags.find_map(|(at, arg)| match arg.as_ref() {
        "-n" | "--namespace" if at + 1 < command => Some(at..at + 2),
        other if other.starts_with("--namespace=") => Some(at..at + 1),
        _ => None,
    });
    if let Some(given) = given {
        let given: Vec<OsString> = args.drain(given).collect();
        let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        args.splice(end..end, given);
    }
    args
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests;
