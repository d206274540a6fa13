//! A container's root: a tmpfs with the host's programs and libraries read-only, and everything else its own.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};

use super::super::spec::{Bind, Root};

/// Host directories that containers see read-only. Where the host has a link, so has the container.
const SYSTEM: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];
/// Parts of the host's /etc that programs cannot do without.
const ETC: [&str; 12] = [
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki",
    "protocols",
    "services",
    "ssl",
    "terminfo",
];
/// Directories of the container's own, with their modes.
const OWN: [(&str, u32); 10] = [
    ("etc", 0o755),
    ("isthmus", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("root", 0o700),
    ("home", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Builds the root and moves into it. The error says what was being done.
pub(super) fn build(root: &Root, working_dir: &Path) -> Result<(), String> {
    let base = root.scratch.as_path();
    let step = |what: String, done: io::Result<()>| done.map_err(|error| format!("{what}: {error}"));
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("make mounts private".into(), mount_change("/", private).map_err(Into::into))?;
    step("mount a root".into(), tmpfs(base, MountFlags::empty(), c"mode=755,size=50%"))?;
    for (directory, mode) in OWN {
        step(format!("make /{directory}"), make_directory(&base.join(directory), mode))?;
    }
    step("link /var/run".into(), symlink("../run", base.join("var/run")))?;
    for name in SYSTEM {
        step(format!("bind /{name}"), system(base, name))?;
    }
    for name in ETC.iter().filter(|name| Path::new("/etc").join(name).exists()) {
        let source = Path::new("/etc").join(name);
        let bind = Bind { target: source.clone(), source, read_only: true };
        step(format!("bind /etc/{name}"), bind_into(base, &bind))?;
    }
    for (path, text) in &root.files {
        step(format!("write {}", path.display()), write_file(base, path, text))?;
    }
    step("set up /dev".into(), devices(&base.join("dev")))?;
    step("mount /proc".into(), processes(base, root.privileged))?;
    step("mount /sys".into(), kernel(base, root.privileged))?;
    for bind in &root.binds {
        let what = || format!("mount {} at {}", bind.source.display(), bind.target.display());
        bind_into(base, bind).map_err(|error| format!("{}: {error}", what()))?;
    }
    let made = within(base, working_dir)
        .and_then(|path| if path.is_dir() { Ok(()) } else { fs::create_dir_all(path) });
    step(format!("make working directory {}", working_dir.display()), made)?;
    step("change the root".into(), change_root(base))?;
    if root.read_only {
        step("make the root read-only".into(), read_only(Path::new("/"), MountFlags::empty()))?;
    }
    Ok(())
}

fn tmpfs(at: &Path, flags: MountFlags, options: &std::ffi::CStr) -> io::Result<()> {
    Ok(mount("tmpfs", at, "tmpfs", flags, options)?)
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn read_only(target: &Path, more: MountFlags) -> io::Result<()> {
    Ok(mount_remount(target, MountFlags::BIND | MountFlags::RDONLY | more, c"")?)
}

fn system(base: &Path, name: &str) -> io::Result<()> {
    let source = Path::new("/").join(name);
    let Ok(metadata) = fs::symlink_metadata(&source) else { return Ok(()) };
    if metadata.is_symlink() {
        return symlink(fs::read_link(&source)?, base.join(name));
    }
    let bind = Bind { target: source.clone(), source, read_only: true };
    bind_into(base, &bind)
}

/// A path of the container as a path under `base`. Refuses what would lead out of it.
fn within(base: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut out = base.to_owned();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                out.push(name);
                // The container's own links are resolved in the container.
                if let Ok(link) = fs::read_link(&out) {
                    out.pop();
                    out = if link.is_absolute() { within(base, &link)? } else { out.join(link) };
                }
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path must not contain '..'"));
            }
        }
    }
    Ok(out)
}

fn write_file(base: &Path, path: &Path, text: &str) -> io::Result<()> {
    let target = within(base, path)?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(target, text)
}

fn bind_into(base: &Path, bind: &Bind) -> io::Result<()> {
    let target = within(base, &bind.target)?;
    if bind.source.is_dir() {
        if !target.is_dir() {
            fs::create_dir_all(&target)?;
        }
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&target)?;
    }
    mount_bind_recursive(&bind.source, &target)?;
    if bind.read_only {
        // Flags that the source is locked to must be repeated.
        let flags = rustix::fs::statvfs(&target)?.f_flag;
        let mut more = MountFlags::empty();
        for (is, flag) in [
            (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        ] {
            if flags.contains(is) {
                more |= flag;
            }
        }
        read_only(&target, more)?;
    }
    Ok(())
}

fn devices(dev: &Path) -> io::Result<()> {
    tmpfs(dev, MountFlags::NOSUID | MountFlags::STRICTATIME, c"mode=755,size=64k")?;
    for name in DEVICES.iter().filter(|name| Path::new("/dev").join(name).exists()) {
        let target = dev.join(name);
        fs::File::create(&target)?;
        mount_bind(Path::new("/dev").join(name), &target)?;
    }
    for (to, name) in DEVICE_LINKS {
        symlink(to, dev.join(name))?;
    }
    make_directory(&dev.join("pts"), 0o755)?;
    make_directory(&dev.join("shm"), 0o1777)?;
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", dev.join("pts"), "devpts", quiet, c"newinstance,ptmxmode=0666,mode=0620")?;
    tmpfs(&dev.join("shm"), quiet | MountFlags::NODEV, c"mode=1777,size=64m")
}

fn processes(base: &Path, privileged: bool) -> io::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = base.join("proc");
    mount("proc", &proc, "proc", quiet, None)?;
    if !privileged {
        for name in ["sys", "sysrq-trigger", "irq", "bus"] {
            let target = proc.join(name);
            if target.exists() {
                mount_bind(&target, &target)?;
                read_only(&target, quiet)?;
            }
        }
    }
    Ok(())
}

fn kernel(base: &Path, privileged: bool) -> io::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let flags = if privileged { quiet } else { quiet | MountFlags::RDONLY };
    Ok(mount("sysfs", base.join("sys"), "sysfs", flags, None)?)
}

/// pivot_root onto itself stacks the old root above the new one, from where it is dropped.
fn change_root(base: &Path) -> io::Result<()> {
    std::env::set_current_dir(base)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
