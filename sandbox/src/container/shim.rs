//! The small process beside every container: `isthmus-sandbox-init`.
//!
//! Four roles, each an execution of its own because a process cannot put itself into a new process-id namespace:
//! `anchor` is the first process of the node's namespace and ends with it; `supervise` prepares namespaces, starts `begin`
//! in them, passes on signals and reports how it ended; `begin` builds the root, gives up rights and becomes the program.

mod begin;
mod rights;
mod root;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Stdio};

use mesh_sys::Namespace;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::spec::{Launch, Place, Report};
use super::wire;

/// Argument of the node's first process.
pub(super) const ANCHOR: &str = "anchor";
/// Argument of a container's shim.
pub(super) const SUPERVISE: &str = "supervise";
/// Argument of what becomes a container's process.
const BEGIN: &str = "begin";

/// Runs the role named by the first argument. Called by the binary alone.
pub fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    let done = die_with_parent().and_then(|()| match role.as_str() {
        ANCHOR => anchor(),
        SUPERVISE => supervise(),
        BEGIN => begin::begin(),
        _ => Err(io::Error::other("the sandbox starts this program; it is of no use alone")),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "isthmus-sandbox-init {role}: {error}");
            ExitCode::from(128)
        }
    }
}

/// Asks the kernel for death when the thread that made this process dies.
fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// The socket a role is given as its standard input.
fn socket() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Waits until the node closes the socket. The kernel then kills all that is left in the namespace.
fn anchor() -> io::Result<ExitCode> {
    rustix::process::setsid()?;
    let _ = socket()?.read(&mut [0]);
    Ok(ExitCode::SUCCESS)
}

fn supervise() -> io::Result<ExitCode> {
    let node = socket()?;
    let (launch, fds) = wire::receive::<Launch>(&node)?;
    // Out of the terminal's reach: an interrupt at the supervisor's must not end containers on its own.
    rustix::process::setsid()?;
    match start(&launch, fds) {
        Ok((mut child, pidfd)) => {
            report(&node, &Report::Started(child.id().cast_signed()))?;
            let code = watch(&node, &mut child, &pidfd)?;
            report(&node, &Report::Exited(code))?;
        }
        Err((message, code)) => report(&node, &Report::Failed { message, code })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn report(node: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    (&mut &*node).write_all(line.as_bytes())
}

/// Starts the container's process and waits until it has become the program.
fn start(launch: &Launch, mut fds: Vec<OwnedFd>) -> Result<(Child, OwnedFd), (String, i32)> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (format!("{what}: {error}"), 128)
    };
    match &launch.place {
        Place::New(_) => {
            if fds.is_empty() {
                return Err(("the network namespace is missing".into(), 128));
            }
            let netns = fds.remove(0);
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| failed("enter the pod's network")(error.into()))?;
            mesh_sys::unshare(&[Namespace::Pid, Namespace::Uts, Namespace::Ipc])
                .map_err(failed("make namespaces"))?;
        }
        Place::Inside(pid) => {
            let target = Pid::from_raw(*pid).ok_or_else(|| ("no such process".to_owned(), 128))?;
            let target = pidfd_open(target, PidfdFlags::empty())
                .map_err(|error| failed("find the container")(error.into()))?;
            move_into_thread_name_spaces(target.as_fd(), ThreadNameSpaceType::PROCESS_ID)
                .map_err(|error| failed("enter the container's processes")(error.into()))?;
            fds.insert(0, target);
        }
    }
    let (mut ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
    let mut child = Command::new("/proc/self/exe")
        .arg(BEGIN)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed("start the container's first process"))?;
    let passed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let sent = wire::send(&ours, launch, &passed);
    let pidfd =
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| ("no process id".to_owned(), 128)).and_then(
            |pid| pidfd_open(pid, PidfdFlags::empty()).map_err(|e| failed("watch the process")(e.into())),
        )?;
    // The socket closes when the program replaces the shim; words before that are an error.
    let mut words = String::new();
    sent.and_then(|()| ours.read_to_string(&mut words)).map_err(failed("start the program"))?;
    if words.is_empty() {
        return Ok((child, pidfd));
    }
    let _ = child.wait();
    Err(serde_json::from_str(&words).unwrap_or((words, 128)))
}

/// Passes signals on until the process has ended; its end is also the end of everything else in the container.
fn watch(node: &UnixStream, child: &mut Child, pidfd: &OwnedFd) -> io::Result<i32> {
    let mut node_gone = false;
    loop {
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
        if !node_gone {
            fds.push(PollFd::new(node, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done?,
        };
        if !fds[0].revents().is_empty() {
            let status = child.wait()?;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(9)));
        }
        let mut signal = [0];
        let signal = match (&mut &*node).read(&mut signal) {
            Ok(1) => Signal::from_named_raw(i32::from(signal[0])),
            _ => {
                node_gone = true;
                Some(Signal::KILL)
            }
        };
        if let Some(signal) = signal {
            // Gone already: the next turn sees its end.
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }
}
