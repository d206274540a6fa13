//! Everything that touches TLS and X.509: trust bundles, certificate authorities, plain HTTPS endpoints, and the
//! live credentials of a mesh proxy. rustls is named in this crate only, so that a version bump touches one place.

mod authority;
mod bundle;
mod info;
mod mesh;
mod pem;
mod plain;
mod sessions;
mod stream;

pub use authority::{Authority, CsrError, SignedLeaf, generate_csr, handshake_refusal, verify_csr};
pub use bundle::{CertificateInfo, TrustBundle, certificate_info};
pub use info::crypto_info;
pub use mesh::{Acceptor, Alpn, CertificateRequest, Connector, MeshTls};
pub use pem::PemPair;
pub use plain::{Subject, client_connector, client_connector_insecure, peer_subject, server_acceptor};

pub use sessions::Sessions;
pub use stream::TlsStream;

pub use rustls_pki_types::{CertificateDer, ServerName};
pub use tokio_rustls::{TlsAcceptor, TlsConnector};

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// What can go wrong with keys, certificates and TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM text could not be read.
    #[error("{what}: not valid PEM: {reason}")]
    Pem {
        /// Which input.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A PEM text holds nothing of the wanted kind.
    #[error("{what}: no {wanted} in the PEM text")]
    Missing {
        /// Which input.
        what: &'static str,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// A certificate could not be parsed.
    #[error("certificate cannot be parsed: {0}")]
    Certificate(String),
    /// The certificate may not sign others.
    #[error("certificate {0:?} is not a CA (basic constraints CA:TRUE and key usage keyCertSign are needed)")]
    NotAuthority(String),
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to certificate {0:?}")]
    KeyMismatch(String),
    /// The certificate does not chain to the bundle, or is outside its validity.
    #[error("certificate {subject:?} does not verify against the trust anchors: {reason}")]
    Untrusted {
        /// Subject of the certificate.
        subject: String,
        /// What the verifier said.
        reason: String,
    },
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// More groups than a client certificate of ours can carry.
    #[error("a client certificate carries at most two groups, {0} were given")]
    Groups(usize),
    /// rustls refused the settings.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    /// A name is not valid as a TLS server name.
    #[error("{0:?} is not a valid TLS server name")]
    ServerName(String),
    /// Nothing to present yet.
    #[error("this proxy has no certificate yet")]
    NoCertificate,
}

/// Makes aws-lc-rs the process-wide provider. Call it first in every binary; calling it again does nothing.
pub fn install_provider() {
    // An error means that a provider is installed already, which is what is wanted.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// The provider every configuration of ours is built with.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A TLS server name from a DNS name or an IP address.
///
/// # Errors
/// [`Error::ServerName`] with the text.
pub fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.trim_end_matches('.').to_owned())
        .map_err(|_| Error::ServerName(name.to_owned()))
}
