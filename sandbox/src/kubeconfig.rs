//! The kubeconfig of a sandbox: one context per cluster, named after it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How to reach a cluster as its administrator.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Cluster, context and user name.
    pub(crate) name: String,
    /// `https://…`.
    pub(crate) server: String,
    /// PEM of the API server's authority.
    pub(crate) ca_pem: String,
    /// PEM of the client certificate.
    pub(crate) certificate: String,
    /// PEM of its key.
    pub(crate) key: String,
}

/// The YAML for these clusters; the first one is the current context.
pub(crate) fn render(clusters: &[Access]) -> String {
    let mut out = String::from("apiVersion: v1\nkind: Config\npreferences: {}\nclusters:\n");
    for Access { name, server, ca_pem, .. } in clusters {
        let ca = STANDARD.encode(ca_pem);
        let _ = writeln!(
            out,
            "- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}"
        );
    }
    out.push_str("contexts:\n");
    for Access { name, .. } in clusters {
        let _ = writeln!(out, "- name: {name}\n  context:\n    cluster: {name}\n    user: {name}-admin");
    }
    out.push_str("users:\n");
    for Access { name, certificate, key, .. } in clusters {
        let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key));
        let _ = writeln!(
            out,
            "- name: {name}-admin\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}"
        );
    }
    let current = clusters.first().map(|cluster| cluster.name.as_str()).unwrap_or_default();
    let _ = writeln!(out, "current-context: {current:?}");
    out
}
