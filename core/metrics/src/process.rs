//! What the kernel says about this process.

use crate::registry::Registry;

/// Registers `process_*`, read from `/proc` at every scrape.
pub fn register_process(registry: &Registry) {
    registry.probe("process_resident_memory_bytes", "Resident memory", || {
        field("/proc/self/statm", 1).map_or(0.0, |pages| pages * PAGE)
    });
    registry.probe("process_virtual_memory_bytes", "Virtual memory", || {
        field("/proc/self/statm", 0).map_or(0.0, |pages| pages * PAGE)
    });
    registry.probe("process_threads", "Threads", || stat(19).unwrap_or_default());
    registry.counter_probe("process_cpu_seconds", "User and system CPU time", || {
        (stat(13).unwrap_or_default() + stat(14).unwrap_or_default()) / TICKS_PER_SECOND
    });
    registry.probe("process_start_time_seconds", "When the process started, since the Unix epoch", || {
        boot_time().unwrap_or_default() + stat(21).unwrap_or_default() / TICKS_PER_SECOND
    });
    registry.probe("process_max_fds", "Limit on open file descriptors", || {
        soft_limit("Max open files").unwrap_or(NO_LIMIT)
    });
    #[allow(clippy::cast_precision_loss)]
    registry.probe("process_open_fds", "Open file descriptors", || {
        std::fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
    });
}

/// Linux' page size on the architectures we ship for (x86-64; arm64 as distributions configure it).
const PAGE: f64 = 4096.0;
/// What an unlimited number is shown as.
const NO_LIMIT: f64 = 18_446_744_073_709_551_615.0;
/// `USER_HZ`, fixed by the kernel's ABI.
const TICKS_PER_SECOND: f64 = 100.0;

fn field(path: &str, index: usize) -> Option<f64> {
    std::fs::read_to_string(path).ok()?.split_whitespace().nth(index)?.parse().ok()
}

/// When the machine started, in seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A soft limit of this process; `None` where there is no limit.
fn soft_limit(name: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// A field of `/proc/self/stat`, counted from 0 as in proc(5) minus one; the command name may hold blanks.
fn stat(index: usize) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split_whitespace().nth(index.checked_sub(2)?)?.parse().ok()
}
