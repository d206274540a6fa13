//! The memory that the container may use, by its control group (version 2, and 1 where nodes still have that).

use super::Load;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// How often use is held against the limit. There is no task where there is no limit.
const EVERY: Duration = Duration::from_millis(250);
/// Above this share of the limit no more is taken on. The rest is for what is under way.
const TIGHT: f64 = 0.9;
/// Limits above this are none (version 1 writes "none" as a huge number).
const NONE: u64 = 1 << 60;

/// A limit and where use is told.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    used: PathBuf,
}

/// Tells `load` when the container's memory is nearly used up.
pub(in crate::outbound) fn watch(load: &Arc<Load>, control: &Handle) {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(limit) = Limit::find(Path::new("/sys/fs/cgroup"), &groups) else { return };
    tracing::debug!(bytes = limit.bytes, "memory limit of the container");
    control.spawn(follow(Arc::downgrade(load), limit));
}

async fn follow(load: Weak<Load>, limit: Limit) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(load) = load.upgrade() else { return };
        load.set_tight(limit.is_tight());
    }
}

impl Limit {
    /// The limit of the group that `groups` (`/proc/self/cgroup`) names, below `root`.
    fn find(root: &Path, groups: &str) -> Option<Self> {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let (hierarchy, limit, used) = match controllers {
                "" => (root.to_owned(), "memory.max", "memory.current"),
                list if list.split(',').any(|c| c == "memory") => {
                    (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
                }
                _ => return None,
            };
            // Inside a container the path may be the one on the node, with the group itself mounted at the root.
            let inside = [hierarchy.join(path.trim_start_matches('/')), hierarchy];
            inside.iter().find_map(|group| {
                let bytes = number(&group.join(limit))?;
                (bytes < NONE).then(|| Self { bytes, used: group.join(used) })
            })
        })
    }

    fn is_tight(&self) -> bool {
        number(&self.used).is_some_and(|used| used as f64 > self.bytes as f64 * TIGHT)
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn memory_is_tight_above_nine_tenths_of_the_limit() {
        let root = group(&[("memory.max", "1000\n"), ("memory.current", "901\n")]);
        let limit = Limit::find(root.path(), "0::/\n").unwrap();
        assert!(limit.is_tight());
        std::fs::write(root.path().join("memory.current"), "899\n").unwrap();
        assert!(!limit.is_tight());
    }

    #[test]
    fn the_group_is_found_by_its_path_or_at_the_root() {
        let root = group(&[("kubepods/a/memory.max", "1000"), ("kubepods/a/memory.current", "1")]);
        assert_eq!(Limit::find(root.path(), "0::/kubepods/a\n").unwrap().bytes, 1000);
        let root = group(&[("memory.max", "500"), ("memory.current", "1")]);
        assert_eq!(Limit::find(root.path(), "0::/kubepods/a\n").unwrap().bytes, 500);
        let root = group(&[("memory/memory.limit_in_bytes", "700"), ("memory/memory.usage_in_bytes", "1")]);
        assert_eq!(Limit::find(root.path(), "3:cpu,cpuacct:/x\n2:memory:/x\n").unwrap().bytes, 700);
    }

    #[test]
    fn without_a_limit_nothing_is_watched() {
        let root = group(&[("memory.max", "max"), ("memory.current", "1")]);
        assert_eq!(Limit::find(root.path(), "0::/\n"), None);
        let huge = [("memory/memory.limit_in_bytes", "9223372036854771712")];
        assert_eq!(Limit::find(group(&huge).path(), "2:memory:/\n"), None);
        assert_eq!(Limit::find(Path::new("/nowhere"), ""), None);
    }
}
