//! The files of a node: a small Debian by debootstrap, and what our own folder `files` adds to it.

use super::places;
use super::step::{logged, output, step};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The Debian release.
const RELEASE: &str = "bookworm";

/// What a node needs beyond Debian's smallest system; the last lines are for whoever looks into a node or a pod.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "nftables",
    "iproute2",
    "conntrack",
    "ethtool",
    "kmod",
    "mount",
    "procps",
    "ca-certificates",
    "iputils-arping",
    "iputils-ping",
    "curl",
    "bind9-dnsutils",
    "tcpdump",
    "netcat-openbsd",
];

/// What a node never reads.
const LEFT_OUT: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/i18n",
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/debconf",
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/bootstrap.log",
];

/// Units that have nothing to do in a node.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "getty@tty1.service",
    "console-getty.service",
    "serial-getty@.service",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-remount-fs.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "nftables.service",
    "runc.service",
];

/// Units that a node starts.
const ENABLED: &[&str] = &["containerd.service", "kubelet.service", "isthmus-net.service"];

/// What the image of tools, and that of kube-proxy, has of a node: the packet filter's tools, a shell and clients.
const TOOLS: &[&str] = &[
    "bash",
    "sh",
    "cat",
    "ls",
    "ps",
    "sleep",
    "date",
    "env",
    "id",
    "head",
    "tail",
    "grep",
    "sed",
    "awk",
    "timeout",
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
    "nft",
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip",
    "conntrack",
    "ss",
    "sysctl",
    "curl",
    "dig",
    "nc",
    "ping",
    "tcpdump",
];

/// The folder of the Debian system, made once.
pub(crate) fn debian() -> Result<PathBuf> {
    let recipe = [RELEASE, &PACKAGES.join(","), &LEFT_OUT.join(","), "1"].join("\n");
    let key = &super::step::digest(recipe.as_bytes())?[..12];
    let dir = places::cache("debian")?.join(key);
    if !dir.is_dir() {
        step("installing a small Debian for nodes (once)", || places::folder_once(&dir, bootstrap))?;
    }
    Ok(dir)
}

fn bootstrap(dir: &Path) -> Result<()> {
    let log = places::cache("log")?.join("debootstrap.log");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), RELEASE]).arg(dir);
    logged(&mut debootstrap, &log).context(
        "debootstrap failed\n  run the command again; it needs Debian's packages, and a file system that allows device \
         files",
    )?;
    for path in LEFT_OUT {
        places::remove(&dir.join(path))?;
    }
    Ok(())
}

/// Copies the node's own files into a folder, and enables and masks units there.
pub(crate) fn add_own_files(overlay: &Path) -> Result<()> {
    let from = places::node_sources().join("files");
    output(Command::new("cp").args(["-a", "--no-preserve=ownership"]).arg(from.join(".")).arg(overlay))?;
    let units = overlay.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    std::fs::create_dir_all(&wanted)?;
    for unit in ENABLED {
        symlink(format!("/etc/systemd/system/{unit}"), wanted.join(unit))?;
    }
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    symlink("/usr/lib/systemd/system/multi-user.target", units.join("default.target"))?;
    // Empty, so that every node makes its own.
    std::fs::write(overlay.join("etc/machine-id"), "")?;
    Ok(())
}

/// Copies tools of a Debian system into a folder, with the libraries they load and the links on the way to them.
pub(crate) fn copy_tools(debian: &Path, tree: &Path) -> Result<()> {
    let mut files = BTreeSet::new();
    for tool in TOOLS {
        let found = ["usr/bin", "usr/sbin"]
            .iter()
            .map(|d| format!("{d}/{tool}"))
            .find(|p| debian.join(p).is_symlink() || debian.join(p).is_file());
        let path = found.with_context(|| format!("the Debian system has no {tool}"))?;
        follow(debian, &path, &mut files)?;
    }
    for folder in ["usr/lib/x86_64-linux-gnu/xtables", "usr/lib/aarch64-linux-gnu/xtables"] {
        for entry in std::fs::read_dir(debian.join(folder)).into_iter().flatten() {
            files.insert(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
        }
    }
    let programs: Vec<String> = files.iter().map(|f| format!("/{f}")).collect();
    for library in libraries(debian, &programs)? {
        follow(debian, library.trim_start_matches('/'), &mut files)?;
    }
    let list: Vec<&str> =
        ["etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/protocols", "etc/services", "etc/ssl/certs"]
            .into_iter()
            .filter(|f| debian.join(f).exists())
            .chain(files.iter().map(String::as_str))
            .collect();
    for link in ["bin", "sbin", "lib", "lib64"] {
        if let Ok(target) = std::fs::read_link(debian.join(link)) {
            symlink(target, tree.join(link))?;
        }
    }
    output(Command::new("cp").args(["-a", "--parents"]).args(&list).arg(tree).current_dir(debian))?;
    for folder in ["tmp", "run", "proc", "sys", "dev", "root", "var/tmp"] {
        std::fs::create_dir_all(tree.join(folder))?;
    }
    Ok(())
}

/// Adds a file and every link that leads from its name to it.
fn follow(debian: &Path, path: &str, files: &mut BTreeSet<String>) -> Result<()> {
    let mut path = real_folder(debian, path);
    while files.insert(path.clone()) {
        let Ok(target) = std::fs::read_link(debian.join(&path)) else { return Ok(()) };
        let folder = Path::new(&path).parent().context("a file lies in a folder")?;
        let joined = match target.strip_prefix("/") {
            Ok(absolute) => absolute.to_owned(),
            Err(_) => folder.join(target),
        };
        path = real_folder(debian, &without_dots(&joined));
    }
    Ok(())
}

/// The path with each `..` carried out.
fn without_dots(path: &Path) -> String {
    let mut clean = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(component);
        }
    }
    clean.to_string_lossy().into_owned()
}

/// `lib/…` is `usr/lib/…` in today's Debian.
fn real_folder(debian: &Path, path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if debian.join(first).is_symlink() { format!("usr/{path}") } else { path.to_owned() }
}

/// The libraries that programs of the Debian system load.
fn libraries(debian: &Path, programs: &[String]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let mut ldd = Command::new("chroot");
        ldd.arg(debian).args(["/usr/bin/ldd", program]);
        // Scripts and data load nothing, which ldd calls a failure.
        let Ok(listed) = output(&mut ldd) else { continue };
        found.extend(
            listed
                .split_whitespace()
                .filter(|w| w.starts_with('/'))
                .map(|w| w.trim_end_matches(':').to_owned()),
        );
    }
    for program in programs {
        found.remove(program);
    }
    Ok(found)
}
