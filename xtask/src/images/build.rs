//! Static executables: what runs in an image that has no C library, and in the sandbox the same.

use crate::{call, cargo, machine, target_dir};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the executables are told of their version, if it is not that of the sources.
const VERSION: &str = "ISTHMUS_VERSION";

/// The machine's architecture, in the words of two worlds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Architecture {
    /// Rust's name of the target.
    pub(crate) target: &'static str,
    /// The name in images.
    pub(crate) image: &'static str,
}

impl Architecture {
    /// Of this machine: nothing is built for another.
    pub(crate) fn here() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self { target: "x86_64-unknown-linux-gnu", image: "amd64" }),
            "aarch64" => Ok(Self { target: "aarch64-unknown-linux-gnu", image: "arm64" }),
            other => bail!("images are made on x86_64 and aarch64, not on {other}"),
        }
    }
}

/// Builds the packages, as this version, without any library to load and answers with the folder of their executables.
///
/// The target is named, although it is this machine's, so that flags reach what ships and not what runs at build time.
pub(crate) fn build(
    packages: &[&str],
    version: &str,
    profile: &str,
    architecture: Architecture,
) -> Result<PathBuf> {
    require_static_libc()?;
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut build = cargo();
    build
        .args(["build", "--quiet", "--profile", profile, "--target", architecture.target])
        .env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if version == env!("CARGO_PKG_VERSION") {
        build.env_remove(VERSION);
    } else {
        build.env(VERSION, version);
    }
    if architecture.image == "arm64" {
        // Kernels of that architecture have pages of 4, 16 or 64 KiB; the allocator must be able to serve them all.
        build.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
    }
    for package in packages {
        build.args(["-p", package]);
    }
    call(&mut build)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir()?.join(architecture.target).join(folder))
}

fn require_static_libc() -> Result<()> {
    let there = || {
        let output = Command::new("gcc").arg("-print-file-name=libc.a").output();
        output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_absolute())
    };
    if there() {
        return Ok(());
    }
    machine::install(&["gcc", "libc6-dev"])?;
    if there() {
        return Ok(());
    }
    bail!("static executables need libc.a (package libc6-dev, or glibc-static)")
}

/// Fails for an executable that asks for a loader.
pub(crate) fn require_static(executable: &Path) -> Result<()> {
    let bytes = std::fs::read(executable).with_context(|| format!("cannot read {}", executable.display()))?;
    match loader_of(&bytes) {
        Ok(None) => Ok(()),
        Ok(Some(loader)) => bail!("{} is not static: it asks for {loader}", executable.display()),
        Err(error) => Err(error.context(executable.display().to_string())),
    }
}

/// The interpreter that a 64-bit little-endian ELF file names.
fn loader_of(elf: &[u8]) -> Result<Option<String>> {
    const PT_INTERP: u64 = 3;
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let number = |at: u64, width: usize| -> Result<u64> {
        let bytes = part(elf, at, width as u64)?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let (table, width, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for header in (0..count).map(|index| table.saturating_add(index * width)) {
        if number(header, 4)? == PT_INTERP {
            let (start, length) = (header.saturating_add(8), header.saturating_add(0x20));
            let name = part(elf, number(start, 8)?, number(length, 8)?)?;
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

fn part(elf: &[u8], start: u64, length: u64) -> Result<&[u8]> {
    let rest = elf.get(usize::try_from(start)?..);
    let part = rest.and_then(|rest| rest.get(..usize::try_from(length).ok()?));
    part.context("the ELF file ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_that_needs_a_loader_is_refused() {
        let refused = require_static(Path::new("/proc/self/exe")).unwrap_err().to_string();
        assert!(refused.contains("is not static: it asks for /lib"), "{refused}");
        let odd = loader_of(b"#!/bin/sh").unwrap_err().to_string();
        assert!(odd.contains("ELF"), "{odd}");
        assert!(loader_of(b"\x7fELF\x02\x01 cut off").is_err());
    }
}
