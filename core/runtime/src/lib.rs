//! What every process of ours starts with: logs, tasks with names and a drain signal, and the admin server of a
//! controller. Rooms take a [`Shutdown`]; binaries make it.

pub mod admin;
mod log;
mod shutdown;

pub use log::{LogFormat, LogHandle, init_tracing};
pub use shutdown::{Shutdown, termination_signal};

/// What can go wrong while a process starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A log filter cannot be parsed.
    #[error("log filter {filter:?}: {reason}; use directives such as warn,mesh_proxy=debug")]
    LogFilter {
        /// The filter's text.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// Logging was set up before.
    #[error("logging is already set up: {0}")]
    LogInstalled(String),
    /// A listener could not be opened.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
}
