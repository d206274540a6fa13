//! Running containers: a process with its own mounts and process ids in its pod's network, without images or daemons.
//!
//! [`Runtime`] belongs to one node. A thread of its own starts a shim (`isthmus-sandbox-init`, module [`shim`]) for
//! each container; the shim builds the container's root and reports over a socket. Everything lives in one process-id
//! namespace whose first process dies with the runtime's thread, so nothing outlives the supervisor, however it ends.

mod log;
mod process;
mod runtime;
pub(crate) mod shim;
pub(crate) mod spec;
mod wire;

pub(crate) use log::LogFile;
pub(crate) use process::{Exit, Process, StartError};
pub(crate) use runtime::{Runtime, Streams};

#[cfg(test)]
pub(crate) mod tests;
