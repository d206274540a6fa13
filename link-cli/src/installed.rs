//! What the cluster says of its own installation.

use crate::globals::Globals;
use crate::install_checks::{CONFIG, unreachable};
use crate::report::Problem;
use anyhow::Context;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_kube::kube::Api;
use serde_json::{Value, json};

/// Name of the ConfigMap with the trust bundle.
const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
/// Name of the Secret with the issuer.
const ISSUER: &str = "linkerd-identity-issuer";

/// The installed values, with the trust bundle in force; without keys.
pub(crate) async fn values(globals: &Globals) -> anyhow::Result<Value> {
    let namespace = &globals.linkerd_namespace;
    let api: Api<ConfigMap> = Api::namespaced(globals.client().await?, namespace);
    let map = api.get_opt(CONFIG).await.map_err(|e| unreachable(&e))?.ok_or_else(|| {
        Problem::new(
            "the control plane is not installed",
            format!("there is no ConfigMap {namespace}/{CONFIG}"),
            "install it first (meshctl install --help), or name its namespace with -L",
        )
    })?;
    let text = map.data.and_then(|mut d| d.remove("values")).unwrap_or_default();
    let mut values: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("ConfigMap {namespace}/{CONFIG} holds no readable values"))?;
    let roots = api.get_opt(TRUST_ROOTS).await.map_err(|e| unreachable(&e))?;
    if let Some(pem) = roots.and_then(|r| r.data?.remove("ca-bundle.crt")) {
        values["identityTrustAnchorsPEM"] = json!(pem);
    }
    Ok(values)
}

/// Certificate and key of the issuer in force, if it is kept in the form `linkerd.io/tls`.
pub(crate) async fn issuer(globals: &Globals) -> anyhow::Result<Option<(String, String)>> {
    let api: Api<Secret> = Api::namespaced(globals.client().await?, &globals.linkerd_namespace);
    let secret = api.get_opt(ISSUER).await.map_err(|e| unreachable(&e))?;
    let Some(mut data) = secret.and_then(|s| s.data) else { return Ok(None) };
    let mut text = |key: &str| data.remove(key).and_then(|bytes| String::from_utf8(bytes.0).ok());
    Ok(text("crt.pem").zip(text("key.pem")))
}
