//! Programs of other people that the protocol suites run: from Debian, or built from their published Go modules.

use crate::{call, machine};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs on PATH and the packages they come in.
const PACKAGED: &[(&str, &str)] = &[("curl", "curl"), ("nghttp", "nghttp2-client"), ("ip", "iproute2")];

/// The variable a test finds a program by, its file name, and the package it is built from.
const BUILT: &[(&str, &str, &str)] = &[
    ("ISTHMUS_H2SPEC", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
    ("ISTHMUS_GRPC_CLIENT", "grpc-interop-client", "google.golang.org/grpc/interop/client"),
    ("ISTHMUS_GRPC_SERVER", "grpc-interop-server", "google.golang.org/grpc/interop/server"),
];

/// What they are built from. `h2spec` names no versions of what it needs itself.
const MODULE: &str = "module tools.local

go 1.24

require (
\tgithub.com/fatih/color v1.18.0
\tgithub.com/spf13/cobra v1.9.1
\tgithub.com/summerwind/h2spec v2.2.1+incompatible
\tgolang.org/x/net v0.35.0
\tgoogle.golang.org/grpc v1.72.1
)
";

/// The folder's name: changed with the module's text, so that nothing old is run.
const VERSION: &str = "h2spec-2.2.1-grpc-1.72.1";

/// Makes sure of all of them; answers with the variables that tests find them by.
pub(crate) fn ensure() -> Result<Vec<(&'static str, PathBuf)>> {
    for (program, package) in PACKAGED {
        machine::require_packaged(program, package)?;
    }
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let dir = Path::new(&home).join(".cache/isthmus/tools").join(VERSION);
    let found: Vec<_> = BUILT.iter().map(|(variable, file, _)| (*variable, dir.join(file))).collect();
    if found.iter().all(|(_, path)| path.is_file()) {
        return Ok(found);
    }
    let Some(go) = machine::find("go") else {
        bail!(
            "h2spec and the gRPC interoperability programs are built with Go, which is not on PATH: install it"
        );
    };
    eprintln!(
        "building h2spec and the gRPC interoperability programs (once; they are kept in {}) …",
        dir.display()
    );
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("go.mod"), MODULE)?;
    for (_, file, package) in BUILT {
        call(
            Command::new(&go)
                .args(["build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", file, package])
                .current_dir(&dir)
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", ""),
        )?;
    }
    Ok(found)
}
