//! What can go wrong in the sandbox, in words for the person at the terminal.

use std::path::PathBuf;

/// An error of the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be; one line each.
    #[error("{}", .0.join("\n"))]
    Options(Vec<String>),
    /// The machine lacks something; one line each.
    #[error("this machine cannot run the sandbox:\n{}", .0.join("\n"))]
    Preflight(Vec<String>),
    /// A file or directory of the sandbox cannot be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Who wanted to listen.
        what: &'static str,
        /// Where.
        address: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// nft refused a ruleset.
    #[error("nft: {reason}")]
    Nft {
        /// nft's own words.
        reason: String,
        /// The refused script.
        script: String,
    },
    /// No sandbox runs under the state directory.
    #[error("no sandbox is running in {} (start one: meshctl sandbox up)", .0.display())]
    NotRunning(PathBuf),
    /// A sandbox already runs under the state directory.
    #[error("a sandbox is already running in {} with process {pid} (stop it: meshctl sandbox down)", dir.display())]
    AlreadyRunning {
        /// State directory.
        dir: PathBuf,
        /// Its supervisor.
        pid: u32,
    },
    /// The supervisor could not be started or ended early.
    #[error("the supervisor did not come up: {0}")]
    Supervisor(String),
    /// A control request was refused.
    #[error("{0}")]
    Refused(String),
    /// Something the operating system refused.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The API server refused or failed.
    #[error("API server of {cluster}: {reason}")]
    Api {
        /// Cluster name.
        cluster: String,
        /// What it said.
        reason: String,
    },
}
