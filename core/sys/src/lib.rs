//! The few Linux calls that neither rustix nor socket2 wrap safely, and the only unsafe code of the workspace.
//!
//! The sandbox calls it to make network, mount and PID namespaces and the device of its latency relay, the proxy to be small.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Setter, opcode};
use rustix::mm::Advice;
use rustix::thread::UnshareFlags;

/// A kind of namespace that a thread may leave without breaking the process it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Interfaces, addresses, routes and sockets made from now on.
    Network,
    /// Mounts. Also gives the thread its own working directory and umask.
    Mount,
    /// Process ids of children made from now on; the caller keeps its own.
    Pid,
    /// Host name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
}

impl Namespace {
    fn flag(self) -> UnshareFlags {
        match self {
            Self::Network => UnshareFlags::NEWNET,
            Self::Mount => UnshareFlags::NEWNS,
            Self::Pid => UnshareFlags::NEWPID,
            Self::Uts => UnshareFlags::NEWUTS,
            Self::Ipc => UnshareFlags::NEWIPC,
        }
    }
}

/// Moves the calling thread into fresh namespaces. Other threads of the process stay where they are.
///
/// # Errors
/// What the kernel says; `PermissionDenied` without `CAP_SYS_ADMIN`.
#[allow(unsafe_code)]
pub fn unshare(namespaces: &[Namespace]) -> io::Result<()> {
    let flags = namespaces.iter().fold(UnshareFlags::empty(), |flags, namespace| flags | namespace.flag());
    // SAFETY: what makes unshare unsafe is CLONE_FILES, which gives a thread a descriptor table of its own; it is none
    // of the flags above.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// The longest interface name, without its terminator.
const INTERFACE_NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Makes a TUN interface (IP packets without a header) in the calling thread's network namespace. The interface lives as
/// long as the descriptor.
///
/// # Errors
/// `InvalidInput` for a name that is empty or longer than 15 bytes; else what the kernel says.
#[allow(unsafe_code)]
pub fn open_tun(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("interface name {name:?}")));
    }
    let tun = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags =
        i16::try_from(flags).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    const SET_INTERFACE: ioctl::Opcode = opcode::write::<libc::c_int>(b'T', 202);
    // SAFETY: TUNSETIFF reads one ifreq, which is what it is given.
    unsafe { ioctl::ioctl(&tun, Setter::<SET_INTERFACE, libc::ifreq>::new(request)) }?;
    Ok(tun)
}

/// Lets no child of this process inherit a descriptor but standard input, output and error. What a process was given
/// by its own caller, such as a pipe whose end somebody waits for, stays with it alone.
///
/// # Errors
/// What the kernel says; Linux before 5.11 does not know the call.
#[allow(unsafe_code)]
pub fn bequeath_nothing() -> io::Result<()> {
    // SAFETY: this sets a flag on descriptors and closes none; it touches no memory.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives back the memory of the program's code. What still runs is taken from the page cache again, some pages at a time; what
/// only a start needs is not. What debuggers and probes (breakpoints, uprobes) have put into the code before is lost.
///
/// # Errors
/// When `/proc/self/maps` cannot be read, or what the kernel says.
pub fn forget_code() -> io::Result<()> {
    advise_code(Advice::LinuxDontNeed)
}

#[allow(unsafe_code)]
fn advise_code(advice: Advice) -> io::Result<()> {
    for range in code(&std::fs::read_to_string("/proc/self/maps")?) {
        let at = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a private mapping of a file that this process cannot write and, having no relocations in its code,
        // never could: what is dropped is read again as it was.
        unsafe { rustix::mm::madvise(at, range.len(), advice) }?;
    }
    Ok(())
}

/// Where files are mapped to be run, from the lines of `/proc/PID/maps`: range, permissions, offset, device, inode, path.
fn code(maps: &str) -> impl Iterator<Item = Range<usize>> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (permissions, inode) = (fields.next()?, fields.nth(2)?);
        let address = |hex| usize::from_str_radix(hex, 16).ok();
        (permissions == "r-xp" && inode != "0").then_some(address(start)?..address(end)?)
    })
}

#[cfg(test)]
mod tests;
