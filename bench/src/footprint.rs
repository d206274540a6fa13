//! Memory of idle proxies, and the size of the binary that ships.

use crate::report::{Figure, Report, median};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::time::Duration;

/// Proxies are left alone for this long before they count as idle.
const IDLE: Duration = Duration::from_secs(5);

/// Resident memory of all proxies below the sandbox's supervisor.
pub(crate) async fn memory(supervisor: u32, report: &mut Report) -> Result<()> {
    tokio::time::sleep(IDLE).await;
    let sizes = resident("isthmus-proxy", supervisor)?;
    let most = sizes.iter().copied().fold(0.0, f64::max);
    let note = format!("{} proxies, the largest {most:.1} MB", sizes.len());
    report.add(Figure::new("proxy resident memory, idle, median", median(sizes), "MB").note(note));
    Ok(())
}

/// Megabytes of each process with this name among the descendants of another.
fn resident(name: &str, ancestor: u32) -> Result<Vec<f64>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.trim() == name
            && descends(pid, ancestor)
            && let Some(kilobytes) = status(pid, "VmRSS:")
        {
            sizes.push(kilobytes as f64 / 1000.0);
        }
    }
    Ok(sizes)
}

fn descends(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        pid = status(pid, "PPid:").and_then(|p| u32::try_from(p).ok()).unwrap_or(0);
    }
    false
}

/// A number in `/proc/<pid>/status`; a process may end while it is looked at.
pub(crate) fn status(pid: u32, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text.lines().find_map(|l| l.strip_prefix(field))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The size of the stripped proxy in the folder that `cargo xtask bench` names when it has built profile `dist`.
pub(crate) fn binary(report: &mut Report) -> Result<()> {
    let folder = std::env::var_os("ISTHMUS_DIST_DIR");
    let folder = folder.context("ISTHMUS_DIST_DIR is not set; `cargo xtask bench mesh --dist` sets it")?;
    let file = Path::new(&folder).join("isthmus-proxy");
    let size = file.metadata().with_context(|| file.display().to_string())?.len() as f64 / 1_000_000.0;
    report.add(Figure::new("proxy binary, profile dist, stripped", size, "MB").goal(10.0));
    Ok(())
}
