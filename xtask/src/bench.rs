//! `cargo xtask bench`: builds what a benchmark runs, optimized, and runs it.

use crate::{build_binaries, call, cargo, kind, machine, target_dir};
use anyhow::{Result, bail};
use std::process::Command;

/// Runs the benchmark of that name with its arguments.
pub(crate) fn run(name: &str, args: &[String]) -> Result<()> {
    let mut bin = target_dir()?.join("release");
    let (packages, program): (&[&str], _) = match name {
        "mesh" => {
            machine::require_root("the sandbox makes network namespaces")?;
            machine::require_nft()?;
            let program = Command::new(bin.join("mesh-bench"));
            bin = build_binaries()?;
            (&["mesh-bench"], program)
        }
        "cluster" => {
            machine::require_root("nodes are privileged containers of an engine that is started here")?;
            (&["mesh-bench"], Command::new(bin.join("mesh-bench")))
        }
        "proxy" => {
            machine::require_root("client and server get network namespaces")?;
            machine::require_nft()?;
            let packages = &["mesh-bench-proxy", "mesh-image-proxy", "mesh-image-init"];
            (packages, Command::new(bin.join("mesh-bench-proxy")))
        }
        "instructions" => {
            machine::require_packaged("valgrind", "valgrind")?;
            (&["mesh-hot"], Command::new(bin.join("mesh-hot")))
        }
        other => bail!("no benchmark is called {other:?}; there are mesh, cluster, proxy and instructions"),
    };
    let mut build = cargo();
    build.args(["build", "--release", "--quiet"]).args(packages.iter().flat_map(|package| ["-p", package]));
    call(&mut build)?;
    let mut program = program;
    if name == "cluster" {
        return kind::test::bench(program.arg(name).args(args));
    }
    if name == "mesh" {
        program.arg(name);
    }
    call(program.args(args).env("ISTHMUS_BIN_DIR", &bin))
}
