//! What an installation says of itself: in the cluster, or in manifests that were kept.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::install_checks::{CONFIG, unreachable};
use crate::overrides;
use crate::report::Problem;
use crate::values::{merge, read};
use anyhow::Context;
use base64::Engine;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_kube::kube::Api;
use mesh_types::annotations;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Name of the ConfigMap with the trust bundle.
pub(crate) const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
/// Name of the Secret with the issuer.
pub(crate) const ISSUER: &str = "linkerd-identity-issuer";

/// The installed values, with the trust bundle in force; without keys.
pub(crate) async fn values(globals: &Globals) -> anyhow::Result<Value> {
    Source::cluster(globals).await?.values().await
}

/// Where an installation is read from.
pub(crate) enum Source {
    /// A cluster.
    Cluster { client: Client, namespace: String },
    /// Manifests in a file, as `meshctl install` printed them.
    File { path: PathBuf, objects: Vec<Value>, namespace: String },
}

impl Source {
    /// The cluster that the flags name.
    pub(crate) async fn cluster(globals: &Globals) -> anyhow::Result<Self> {
        Ok(Self::Cluster { client: globals.client().await?, namespace: globals.linkerd_namespace.clone() })
    }

    /// Manifests in a file.
    pub(crate) fn file(path: &Path, namespace: &str) -> anyhow::Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&read(path)?).map_err(|error| {
            Problem::usage(
                format!("{} holds no manifests", path.display()),
                crate::report::one_line(&error.to_string()),
                "give what meshctl install printed when the control plane was installed",
            )
        })?;
        let lists = |d: Value| match d["kind"] == "List" {
            true => d["items"].as_array().cloned().unwrap_or_default(),
            false => vec![d],
        };
        let objects = documents.into_iter().flat_map(lists).collect();
        Ok(Self::File { path: path.to_owned(), objects, namespace: namespace.to_owned() })
    }

    fn namespace(&self) -> &str {
        match self {
            Self::Cluster { namespace, .. } | Self::File { namespace, .. } => namespace,
        }
    }

    async fn config_map(&self, name: &str) -> anyhow::Result<Option<Value>> {
        match self {
            Self::Cluster { client, namespace } => {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                as_json(api.get_opt(name).await.map_err(|e| unreachable(&e))?)
            }
            Self::File { .. } => Ok(self.in_file("ConfigMap", name)),
        }
    }

    /// A Secret of the installation.
    pub(crate) async fn secret(&self, name: &str) -> anyhow::Result<Option<Value>> {
        match self {
            Self::Cluster { client, namespace } => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                as_json(api.get_opt(name).await.map_err(|e| unreachable(&e))?)
            }
            Self::File { .. } => Ok(self.in_file("Secret", name)),
        }
    }

    fn in_file(&self, kind: &str, name: &str) -> Option<Value> {
        let Self::File { objects, namespace, .. } = self else { return None };
        let is = |o: &&Value| {
            let meta = &o["metadata"];
            o["kind"] == kind && meta["name"] == name && meta["namespace"] == namespace.as_str()
        };
        objects.iter().find(is).cloned()
    }

    async fn config(&self) -> anyhow::Result<Value> {
        let namespace = self.namespace();
        self.config_map(CONFIG).await?.ok_or_else(|| {
            let (why, fix) = match self {
                Self::Cluster { .. } => (
                    format!("there is no ConfigMap {namespace}/{CONFIG}"),
                    "install it first (meshctl install --help), or name its namespace with -L",
                ),
                Self::File { path, .. } => (
                    format!("{} has no ConfigMap {namespace}/{CONFIG}", path.display()),
                    "give what meshctl install printed, or name the namespace of the control plane with -L",
                ),
            };
            Problem::new("the control plane is not installed", why, fix).into()
        })
    }

    /// The values that the control plane runs with, the trust bundle in force among them; without keys.
    async fn values(&self) -> anyhow::Result<Value> {
        let config = self.config().await?;
        let text = config["data"]["values"].as_str().unwrap_or_default();
        let mut values: Value = serde_saphyr::from_str(text)
            .with_context(|| format!("ConfigMap {}/{CONFIG} holds no readable values", self.namespace()))?;
        if let Some(pem) = self.anchors().await? {
            values["identityTrustAnchorsPEM"] = json!(pem);
        }
        Ok(values)
    }

    /// The trust anchors in force.
    pub(crate) async fn anchors(&self) -> anyhow::Result<Option<String>> {
        let map = self.config_map(TRUST_ROOTS).await?;
        Ok(map.and_then(|m| m["data"]["ca-bundle.crt"].as_str().map(str::to_owned)))
    }

    /// Certificate and key of the issuer in force, if they are kept in the form `linkerd.io/tls`.
    pub(crate) async fn issuer(&self) -> anyhow::Result<Option<(String, String)>> {
        let Some(secret) = self.secret(ISSUER).await? else { return Ok(None) };
        Ok(secret_text(&secret, "crt.pem").zip(secret_text(&secret, "key.pem")))
    }

    /// What this version would install: its defaults, what the installation was told, and its certificates.
    ///
    /// An installation by Helm is Helm's to change, and is refused.
    pub(crate) async fn replay(&self) -> anyhow::Result<Value> {
        let config = self.config().await?;
        let made_by = config["metadata"]["annotations"][annotations::CREATED_BY].as_str().unwrap_or_default();
        if made_by.contains("/helm") {
            return Err(Problem::new(
                "the control plane was installed with Helm",
                format!("ConfigMap {}/{CONFIG} says: {made_by}", self.namespace()),
                "change it with Helm:  helm upgrade … --reuse-values, or helm uninstall",
            )
            .into());
        }
        let mut values = Chart::ControlPlane.default_values()?;
        let told = match self.secret(overrides::SECRET).await? {
            Some(secret) => secret_text(&secret, overrides::SECRET),
            None => None,
        };
        match told {
            Some(text) => {
                let told: Value = serde_saphyr::from_str(&text).with_context(|| {
                    format!("Secret {}/{} holds no readable values", self.namespace(), overrides::SECRET)
                })?;
                merge(&mut values, &told);
            }
            // An install that ended half-way may lack the Secret.
            None => merge(&mut values, &self.values().await?),
        }
        // The version is this binary's, not the one that was installed.
        merge(&mut values, &json!({"linkerdVersion": ""}));
        let anchors = match self.anchors().await? {
            Some(pem) => Some(pem),
            None => self.values().await?["identityTrustAnchorsPEM"].as_str().map(str::to_owned),
        };
        if let Some(pem) = anchors {
            merge(&mut values, &json!({"identityTrustAnchorsPEM": pem}));
        }
        if let Some((cert, key)) = self.issuer().await? {
            merge(&mut values, &json!({"identity": {"issuer": {"tls": {"crtPEM": cert, "keyPEM": key}}}}));
        }
        Ok(values)
    }
}

fn as_json<T: serde::Serialize>(object: Option<T>) -> anyhow::Result<Option<Value>> {
    Ok(object.map(serde_json::to_value).transpose()?)
}

/// The text under a key of a Secret.
pub(crate) fn secret_text(secret: &Value, key: &str) -> Option<String> {
    if let Some(plain) = secret["stringData"][key].as_str() {
        return Some(plain.to_owned());
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}
