//! Hands a ruleset to the kernel.

use crate::Error;
use std::io::Write;
use std::process::{Command, Stdio};

/// Where `nft` may be when `PATH` does not say (minimal images leave `/usr/sbin` out).
const NFT_PLACES: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

const CLOSE_WAIT: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";

/// Applies a ruleset in one transaction: all rules or none.
///
/// # Errors
/// When there is no `nft`, or it refuses the rules.
pub fn apply(ruleset: &str) -> Result<(), Error> {
    let mut child = spawn_nft()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A broken pipe means nft has ended already; its own message tells more.
        let _ = stdin.write_all(ruleset.as_bytes());
    }
    let output = child.wait_with_output().map_err(Error::Nft)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Refused(said.lines().next().unwrap_or("no message").trim().to_owned()))
}

fn spawn_nft() -> Result<std::process::Child, Error> {
    let mut missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    for place in NFT_PLACES {
        let spawned = Command::new(place)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            // Read and dropped: /dev/null may be missing where devices are.
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Ok(child) => return Ok(child),
            Err(e) => missing = e,
        }
    }
    Err(Error::Nft(missing))
}

/// Sets how long the kernel keeps connections in CLOSE_WAIT, in seconds.
///
/// # Errors
/// When the setting cannot be written (it needs a privileged container).
pub fn set_close_wait_timeout(seconds: u32) -> Result<(), Error> {
    std::fs::write(CLOSE_WAIT, seconds.to_string())
        .map_err(|source| Error::Sysctl { path: CLOSE_WAIT, source })
}
