//! The demo shop as scenarios use it: the same manifests, in a namespace of the scenario's own.

use crate::cluster::Cluster;
use anyhow::{Context as _, Result};

/// The manifests.
pub const SHOP: &str = include_str!("../../../demo/manifests/shop.yaml");

/// Deploys the shop into `namespace` and waits for it.
///
/// # Errors
/// kubectl's words.
pub fn shop_in(cluster: &Cluster, namespace: &str) -> Result<()> {
    let manifests = SHOP
        .replace("namespace: shop", &format!("namespace: {namespace}"))
        .replace("name: shop", &format!("name: {namespace}"));
    // The pods read the cluster's name when they start, so it must be there before them.
    let (namespace_object, rest) =
        manifests.split_once("\n---\n").context("the shop begins with its namespace")?;
    let config = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: cluster, namespace: {namespace} }}\n\
         data: {{ name: {} }}\n",
        cluster.name
    );
    cluster.apply(&format!("{namespace_object}\n---\n{config}\n---\n{rest}"))?;
    for app in ["pricing", "ledger", "catalog", "web"] {
        cluster.rolled_out(namespace, app)?;
    }
    Ok(())
}
