//! Why a pod's network could not be prepared.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a pod's network could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `nft` program is not there.
    #[error("cannot run nft: {0}; the init image must contain the nftables package")]
    Nft(#[source] io::Error),
    /// The kernel or `nft` refused the rules.
    #[error(
        "nft refused the rules: {0}; the init container needs the capability NET_ADMIN and a kernel with nf_tables"
    )]
    Refused(String),
    /// A kernel setting could not be written.
    #[error("cannot write {path}: {source}; close-wait-timeout needs a privileged init container")]
    Sysctl {
        /// The file under `/proc/sys`.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The validator could not take the proxy's place.
    #[error("cannot listen on {addr}: {source}; is a proxy running already?")]
    Listen {
        /// The proxy's outbound address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The test connection was not answered.
    #[error(
        "connection to {addr} was not redirected within {timeout:?}: {source}; the rules are missing in this pod"
    )]
    NotRedirected {
        /// The made-up destination.
        addr: SocketAddr,
        /// How long was waited.
        timeout: Duration,
        /// What happened instead.
        source: io::Error,
    },
    /// Something else answered the test connection.
    #[error(
        "connection to {addr} was answered, but not by this validator; the rules are missing in this pod"
    )]
    WrongAnswer {
        /// The made-up destination.
        addr: SocketAddr,
    },
}
