//! What can go wrong in the webhook.

use std::net::SocketAddr;

/// What can go wrong in the webhook.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener could not be opened.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate could not be made or used.
    #[error("webhook certificate: {0}")]
    Tls(#[from] mesh_tls::Error),
    /// The API server refused, or could not be reached.
    #[error("{what}: {reason}")]
    Kubernetes {
        /// What was asked for.
        what: &'static str,
        /// What came of it.
        reason: String,
    },
    /// An object has not the expected content.
    #[error("{0}")]
    Content(String),
}

impl Error {
    pub(crate) fn kubernetes(what: &'static str) -> impl Fn(mesh_kube::kube::Error) -> Self {
        move |error| Self::Kubernetes { what, reason: mesh_kube::explain(&error) }
    }
}
