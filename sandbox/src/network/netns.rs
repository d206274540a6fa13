//! Anonymous network namespaces, held by a descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use mesh_sys::Namespace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// A network namespace that lives as long as this handle (or a process in it). Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct NetNs(Arc<File>);

impl NetNs {
    /// Makes an empty namespace; only a loopback interface that is down is in it.
    ///
    /// # Errors
    /// When the kernel refuses (this needs root).
    pub(crate) fn create() -> Result<Self, Error> {
        on_fresh_thread(|| {
            mesh_sys::unshare(&[Namespace::Network])?;
            Self::current()
        })
        .map_err(|source| Error::System { action: "make a network namespace".into(), source })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not readable.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self(Arc::new(File::open("/proc/thread-self/ns/net")?)))
    }

    /// Moves the calling thread into the namespace: for threads of a runtime that lives there.
    ///
    /// # Errors
    /// When the kernel refuses (this needs root).
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_fresh_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
