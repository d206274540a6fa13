//! `cargo xtask bench`: builds what a benchmark runs, optimized, and runs it.

use crate::images::build::{Architecture, build};
use crate::{BINARIES, call, kind, machine};
use anyhow::{Result, bail};
use std::process::Command;

/// Runs the benchmark of that name with its arguments.
pub(crate) fn run(name: &str, args: &[String]) -> Result<()> {
    // The package, which its program is called like, and whether the program is told which of its benchmarks to run.
    let (package, one_of_several) = match name {
        "mesh" => {
            machine::require_root("the sandbox makes network namespaces")?;
            machine::require_nft()?;
            ("mesh-bench", true)
        }
        "cluster" => {
            machine::require_root("nodes are privileged containers of an engine that is started here")?;
            ("mesh-bench", true)
        }
        "proxy" => {
            machine::require_root("client and server get network namespaces")?;
            machine::require_nft()?;
            ("mesh-bench-proxy", false)
        }
        "faults" | "soak" => {
            machine::require_root("client and servers get network namespaces")?;
            machine::require_nft()?;
            ("mesh-bench-endure", true)
        }
        "instructions" => {
            machine::require_packaged("valgrind", "valgrind")?;
            ("mesh-hot", false)
        }
        other => bail!(
            "no benchmark is called {other:?}; there are mesh, cluster, proxy, faults, soak and instructions"
        ),
    };
    let (version, here) = (env!("CARGO_PKG_VERSION"), Architecture::here()?);
    // With all that ships, so that libraries are compiled once, with one set of features.
    let bin = build(&[BINARIES, &[package]].concat(), version, "release", here)?;
    let mut program = Command::new(bin.join(package));
    program.env("ISTHMUS_BIN_DIR", &bin);
    if args.iter().any(|arg| arg == "--dist") {
        program.env("ISTHMUS_DIST_DIR", build(&["mesh-image-proxy"], version, "dist", here)?);
    }
    if one_of_several {
        program.arg(name);
    }
    program.args(args);
    if name == "cluster" { kind::test::bench(&mut program) } else { call(&mut program) }
}
