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
    /// PEM of the client certificate and its key; `None` for one without credentials.
    pub(crate) client: Option<(String, String)>,
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
    let named: Vec<_> = clusters.iter().filter(|cluster| cluster.client.is_some()).collect();
    if named.is_empty() {
        out.push_str("contexts: []\nusers: []\ncurrent-context: \"\"\n");
        return out;
    }
    out.push_str("contexts:\n");
    for Access { name, .. } in &named {
        let _ = writeln!(out, "- name: {name}\n  context:\n    cluster: {name}\n    user: {name}-admin");
    }
    out.push_str("users:\n");
    for Access { name, client, .. } in &named {
        let (certificate, key) = client.clone().unwrap_or_default();
        let _ = writeln!(
            out,
            "- name: {name}-admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}",
            STANDARD.encode(certificate),
            STANDARD.encode(key)
        );
    }
    let _ = writeln!(out, "current-context: {}", named[0].name);
    out
}
