//! What a bare Debian machine lacks to build a node image and to run it.

use super::places;
use super::step::{output, step};
use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

/// Programs that must be there, and Debian's packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("debootstrap", "debootstrap"),
    ("gcc", "gcc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("tcpdump", "tcpdump"),
    ("tar", "tar"),
];

/// Installs what is missing.
pub(crate) fn require() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| machine::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    // gcc without it compiles nothing.
    if !has_libc_headers() {
        missing.push("libc6-dev");
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if machine::find("apt-get").is_none() {
        bail!(
            "this machine lacks, and has no apt-get to install: {list}\n  install them with its own package manager"
        );
    }
    step(&format!("installing {list}"), || without_starting_services(|| machine::install(&missing)))
}

fn has_libc_headers() -> bool {
    Path::new("/usr/include/stdlib.h").exists() && machine::find("gcc").is_some()
}

/// Does `work` while Debian's packages start no service: the engine is started by us, with folders of its own.
fn without_starting_services(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let policy = Path::new("/usr/sbin/policy-rc.d");
    if policy.exists() {
        return work();
    }
    std::fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot write /usr/sbin/policy-rc.d")?;
    output(Command::new("chmod").arg("755").arg(policy))?;
    let done = work();
    places::remove(policy)?;
    done
}
