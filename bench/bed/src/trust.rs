//! Who certifies the two sides.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use mesh_tls::Authority;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// The identity of the proxy beside the client.
pub const CLIENT: &str = "client.bed.serviceaccount.identity.linkerd.cluster.local";
/// The identity of the proxy beside the server.
pub const SERVER: &str = "server.bed.serviceaccount.identity.linkerd.cluster.local";

/// How long certificates last: longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const SKEW: Duration = Duration::from_secs(20);

/// A root, and an issuer below it.
pub struct Trust {
    root: Authority,
    issuer: Arc<Authority>,
}

impl Trust {
    /// Makes both anew.
    ///
    /// # Errors
    /// When keys or certificates cannot be made.
    pub fn new() -> Result<Self> {
        mesh_tls::install_provider();
        let root = Authority::new_root("root.linkerd.cluster.local", LIFETIME * 2)?;
        let issuer = root.issue_authority("identity.linkerd.cluster.local", LIFETIME)?;
        Ok(Self { root, issuer: Arc::new(issuer) })
    }

    /// The trust anchor, PEM.
    pub fn anchors(&self) -> String {
        self.root.cert_pem()
    }

    pub(crate) fn issuer(&self) -> Arc<Authority> {
        Arc::clone(&self.issuer)
    }

    /// Certificate chain and key of a workload in one PEM text, for programs that read files.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn pem(&self, name: &str) -> Result<String> {
        let identity = name.parse().with_context(|| format!("identity {name:?}"))?;
        let (key, csr) = mesh_tls::generate_csr(&identity)?;
        let leaf = self.issuer.sign_csr(&csr, &identity, LIFETIME, SKEW)?;
        let mut text = pem("CERTIFICATE", &leaf.leaf_der);
        for der in &leaf.intermediates_der {
            text += &pem("CERTIFICATE", der);
        }
        text += &pem("PRIVATE KEY", &key);
        Ok(text)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        // Writing to a String cannot fail, and base64 is ASCII.
        let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
    }
    text + &format!("-----END {label}-----\n")
}
