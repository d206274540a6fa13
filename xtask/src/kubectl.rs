//! A stock kubectl is the sandbox's acceptance client: from PATH, or built from its published Go module.

use crate::kind::binaries;
use crate::machine;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest kubectl the tests accept, as a minor version of 1: the oldest that the sandbox serves.
const OLDEST_MINOR: u32 = 28;

/// The path of a kubectl that is new enough.
pub(crate) fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = machine::find("kubectl") {
        match minor_version(&path) {
            Ok(minor) if minor >= OLDEST_MINOR => return Ok(path),
            Ok(minor) => eprintln!("{} is 1.{minor}, older than 1.{OLDEST_MINOR}", path.display()),
            Err(error) => eprintln!("{}: {error:#}", path.display()),
        }
    }
    let bin = binaries::build(&binaries::KUBECTL).with_context(|| {
        format!("kubectl 1.{OLDEST_MINOR} or newer is needed: put one on PATH, or let it be built")
    })?;
    Ok(bin.join("kubectl"))
}

fn minor_version(kubectl: &Path) -> Result<u32> {
    let output = Command::new(kubectl).args(["version", "--client", "-o", "json"]).output()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).context("no version as JSON")?;
    let minor = version["clientVersion"]["minor"].as_str().context("no minor version")?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("minor version {minor:?}"))
}
