//! The thread that starts processes, and the directory of volumes only it and its children see.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};

use mesh_sys::Namespace;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use tokio::sync::oneshot;

use super::shim;
use super::spec::Launch;
use super::wire;
use crate::error::Error;
use crate::network::NetNs;

/// Starts containers for one node. Everything it started ends when the last clone is dropped, or with the process.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    requests: mpsc::Sender<Request>,
    pods: Arc<OwnedFd>,
    /// Where the shims see `pods`.
    pods_path: PathBuf,
    scratch: PathBuf,
}

/// The standard streams of a process.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Standard input; `/dev/null` when absent.
    pub(crate) input: Option<OwnedFd>,
    /// Standard output.
    pub(crate) output: OwnedFd,
    /// Standard error.
    pub(crate) error: OwnedFd,
}

#[derive(Debug)]
struct Request {
    launch: Launch,
    netns: Option<NetNs>,
    streams: Streams,
    reply: oneshot::Sender<io::Result<(Child, UnixStream)>>,
}

impl Runtime {
    /// Starts the thread. `shim` is the path of `isthmus-sandbox-init`; `directory` is the node's own.
    ///
    /// # Errors
    /// When namespaces or mounts cannot be made (this needs root), or the shim cannot be run.
    pub(crate) fn start(shim: PathBuf, directory: &Path) -> Result<Self, Error> {
        let (scratch, pods_path) = (directory.join("root"), directory.join("pods"));
        for path in [&scratch, &pods_path] {
            std::fs::create_dir_all(path).map_err(|source| Error::File {
                action: "make directory",
                path: path.clone(),
                source,
            })?;
        }
        let (requests, inbox) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let pods_dir = pods_path.clone();
        let failed = |source| Error::System { action: "start the container runtime".into(), source };
        std::thread::Builder::new()
            .name("containers".into())
            .spawn(move || match prepare(&shim, &pods_dir) {
                Ok((mut anchor, guard, pods)) => {
                    let _ = ready.send(Ok(pods));
                    serve(&shim, &inbox);
                    drop(guard);
                    // Its end is the end of every process in its namespace.
                    let _ = anchor.wait();
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(failed)?;
        let pods =
            started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).map_err(failed)?;
        Ok(Self { requests, pods: Arc::new(pods), pods_path, scratch })
    }

    /// An empty directory on which roots may be built.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A file or directory of the volumes, as this process reaches it. It is a tmpfs that no other process sees.
    pub(crate) fn here(&self, relative: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.pods.as_fd().as_raw_fd())).join(relative)
    }

    /// The same file or directory, as a shim reaches it.
    pub(crate) fn there(&self, relative: &Path) -> PathBuf {
        self.pods_path.join(relative)
    }

    /// Starts a shim and hands it its orders.
    pub(super) async fn spawn(
        &self,
        launch: Launch,
        netns: Option<NetNs>,
        streams: Streams,
    ) -> io::Result<(Child, UnixStream)> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the container runtime has ended");
        self.requests.send(Request { launch, netns, streams, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Leaves the host's mounts and process ids, and starts the first process of the new ones.
fn prepare(shim: &Path, pods: &Path) -> io::Result<(Child, UnixStream, OwnedFd)> {
    mesh_sys::unshare(&[Namespace::Mount])?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("isthmus-pods", pods, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755")?;
    let directory =
        rustix::fs::open(pods, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    mesh_sys::unshare(&[Namespace::Pid])?;
    let (ours, theirs) = UnixStream::pair()?;
    let anchor = Command::new(shim)
        .arg(shim::ANCHOR)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", shim.display())))?;
    Ok((anchor, ours, directory))
}

fn serve(shim: &Path, inbox: &mpsc::Receiver<Request>) {
    while let Ok(Request { launch, netns, streams, reply }) = inbox.recv() {
        let _ = reply.send(start(shim, &launch, netns.as_ref(), streams));
    }
}

fn start(
    shim: &Path,
    launch: &Launch,
    netns: Option<&NetNs>,
    streams: Streams,
) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(shim)
        .arg(shim::SUPERVISE)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(streams.output))
        .stderr(Stdio::from(streams.error))
        .env_clear()
        .current_dir("/")
        .spawn()?;
    let fds: Vec<_> =
        netns.map(AsFd::as_fd).into_iter().chain(streams.input.as_ref().map(AsFd::as_fd)).collect();
    // A shim that died already shows as the end of the socket.
    let _ = wire::send(&ours, launch, &fds);
    ours.set_nonblocking(true)?;
    Ok((child, ours))
}
