//! What the machine must have, and how to get it.

use crate::call;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fails unless this process runs as root.
pub(crate) fn require_root(why: &str) -> Result<()> {
    let uid = std::fs::read_to_string("/proc/self/status")?
        .lines()
        .find_map(|l| l.strip_prefix("Uid:").and_then(|r| r.split_whitespace().nth(1).map(str::to_owned)));
    if uid.as_deref() != Some("0") {
        bail!("root is needed: {why}\n  run it as root, or under sudo -E");
    }
    Ok(())
}

/// Makes sure that `nft` is there, installing Debian's package where that is possible.
pub(crate) fn require_nft() -> Result<()> {
    require_packaged("nft", "nftables")
}

/// Makes sure that a program is there, installing Debian's package where that is possible.
pub(crate) fn require_packaged(program: &str, package: &str) -> Result<()> {
    if find(program).is_some() {
        return Ok(());
    }
    install(&[package])
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("{names} is needed and this machine has no apt-get to install it with");
    }
    eprintln!("installing {names} …");
    call(Command::new("apt-get").args(["update", "-qq"]))?;
    call(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .stdout(std::process::Stdio::null())
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The first executable of that name on PATH, or where system tools lie.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|d| d.join(name)).find(|p| p.is_file())
}

/// PATH, with the folder of `executable` looked through first.
pub(crate) fn path_beginning_with(executable: &Path) -> Result<OsString> {
    let folder = executable.parent().context("an executable lies in a folder")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path)))?)
}
