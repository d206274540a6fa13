//! What the machine must have, and what to do when it lacks it.

use std::path::{Path, PathBuf};

/// Directories searched after those of `PATH`: root's tools are not on every user's path.
const SYSTEM_DIRS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A program on `PATH` or in the system directories.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Everything that is missing to run the sandbox here, each with its remedy; empty when all is well.
pub fn preflight() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: it makes network, mount and process namespaces (run it with sudo)".to_owned());
    }
    if program("nft").is_none() {
        missing.push("nft: it programs the services' packet rules (apt-get install nftables)".to_owned());
    }
    for (file, what) in [
        ("/proc/self/ns/net", "network namespaces (kernel option CONFIG_NET_NS)"),
        ("/proc/self/ns/pid", "process namespaces (kernel option CONFIG_PID_NS)"),
        ("/proc/self/ns/mnt", "mount namespaces (a kernel from this decade)"),
    ] {
        if !Path::new(file).exists() {
            missing.push(what.to_owned());
        }
    }
    missing
}
