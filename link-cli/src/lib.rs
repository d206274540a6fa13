//! `meshctl`: installs the mesh, injects workloads, links clusters and runs sandbox clusters.
//!
//! Manifests go to stdout and everything meant for people to stderr, so that pipes work. Exit codes: 0 fine,
//! 1 a check or a request failed, 2 the command line is wrong.

mod charts;
mod check;
mod cli;
mod completion;
mod diagnostics;
mod globals;
mod inject;
mod injector_ready;
mod install;
mod install_checks;
mod installed;
mod manifest;
mod multicluster;
mod overrides;
mod owned;
mod proxy_flags;
mod prune;
mod render;
mod report;
mod sandbox;
mod trust;
mod uninstall;
mod upgrade;
mod values;
mod version;

use std::process::ExitCode;
use std::sync::OnceLock;

static VERSION: OnceLock<&'static str> = OnceLock::new();

/// The version of this `meshctl`, and of what it installs.
fn own_version() -> &'static str {
    VERSION.get().copied().unwrap_or(mesh_types::VERSION)
}

/// Does what the process was called for, as this version.
pub fn run(version: &'static str) -> ExitCode {
    VERSION.get_or_init(|| version);
    match cli::Cli::of_process().run() {
        Ok(code) => code,
        Err(error) => {
            report::print_failure(&error);
            report::exit_code(&error)
        }
    }
}
