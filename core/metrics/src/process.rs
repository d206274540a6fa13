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
    #[allow(clippy::cast_precision_loss)]
    registry.probe("process_open_fds", "Open file descriptors", || {
        std::fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
    });
}

/// Linux' page size on the architectures we ship for (x86-64; arm64 as distributions configure it).
const PAGE: f64 = 4096.0;
/// `USER_HZ`, fixed by the kernel's ABI.
const TICKS_PER_SECOND: f64 = 100.0;

fn field(path: &str, index: usize) -> Option<f64> {
    std::fs::read_to_string(path).ok()?.split_whitespace().nth(index)?.parse().ok()
}

/// A field of `/proc/self/stat`, counted from 0 as in proc(5) minus one; the command name may hold blanks.
fn stat(index: usize) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split_whitespace().nth(index.checked_sub(2)?)?.parse().ok()
}
