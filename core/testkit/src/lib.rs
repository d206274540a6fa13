//! What rooms' tests stand on: a cluster's API server in the test's own process, and waiting without sleeping.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = mesh_testkit::Cluster::start().await?;
//! cluster.namespace("shop").await?;
//! let kubeconfig = cluster.kubeconfig_path();
//! # Ok(()) }
//! ```

mod http;
#[cfg(test)]
mod tests;

pub use http::{Http, Lines, Reply};

use anyhow::{Context, Result};
use mesh_apiserver::{ApiServer, Config, Handle, LocalClient};
use serde_json::{Value, json};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

pub use mesh_apiserver::{DeleteOptions, PatchKind, Propagation, Selection, WatchEvent};

/// How long a test waits for something that should be there in milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster's API server on loopback, and an administrator's way in. Stops when dropped.
pub struct Cluster {
    handle: Handle,
    client: LocalClient,
    url: String,
    directory: TempDir,
}

impl Cluster {
    /// Starts a cluster named `test`.
    ///
    /// # Errors
    /// No loopback port could be bound, or certificates not made.
    pub async fn start() -> Result<Self> {
        Self::named("test").await
    }

    /// Starts a cluster of this name, which is its kubeconfig context too.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn named(name: &str) -> Result<Self> {
        Self::with(Config { cluster_name: name.to_owned(), ..Config::default() }).await
    }

    /// Starts a cluster whose API server finds every Service at the address that it answers with, a free one of loopback.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn with_service() -> Result<(Self, SocketAddr)> {
        let address = TcpListener::bind("127.0.0.1:0").context("binding a loopback port")?.local_addr()?;
        let resolve_service = Some(Arc::new(move |_: &str, _: &str, _: u16| Some(address)) as _);
        let cluster = Self::with(Config { resolve_service, ..Config::default() }).await?;
        Ok((cluster, address))
    }

    /// Starts a cluster from a configuration; without listeners, on a free port of loopback.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn with(mut config: Config) -> Result<Self> {
        if config.listeners.is_empty() {
            config.listeners.push(TcpListener::bind("127.0.0.1:0").context("binding a loopback port")?);
        }
        let handle = ApiServer::start(config).await.context("starting the API server")?;
        let address = handle.addresses().first().context("the server has no address")?;
        let url = format!("https://{address}");
        let directory = tempfile::tempdir().context("making a directory for the kubeconfig")?;
        std::fs::write(directory.path().join("kubeconfig"), handle.admin_kubeconfig(&url)?)?;
        let client = handle.client("kubernetes-admin", &["system:masters"]);
        Ok(Self { handle, client, url, directory })
    }

    /// The server.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Base URL of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An administrator's in-process client.
    pub fn client(&self) -> &LocalClient {
        &self.client
    }

    /// An in-process client that acts as a service account.
    pub fn client_of(&self, namespace: &str, account: &str) -> LocalClient {
        let namespace_group = format!("system:serviceaccounts:{namespace}");
        let user = format!("system:serviceaccount:{namespace}:{account}");
        self.handle.client(&user, &["system:serviceaccounts", &namespace_group])
    }

    /// An administrator's kubeconfig.
    ///
    /// # Errors
    /// The certificate could not be issued.
    pub fn kubeconfig(&self) -> Result<String> {
        Ok(self.handle.admin_kubeconfig(&self.url)?)
    }

    /// A file with an administrator's kubeconfig, for as long as the cluster lives.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// A directory for the test's own files, for as long as the cluster lives.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn namespace(&self, name: &str) -> Result<Arc<Value>> {
        self.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await
    }

    /// Creates an object, found by its `apiVersion` and `kind`. Its `status`, if it has one, is written too.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn create(&self, object: Value) -> Result<Arc<Value>> {
        let resource = self.resource_of(&object)?;
        let status = object.get("status").cloned();
        let created = self.client.create(&resource, object).await?;
        let Some(status) = status.filter(|s| created.get("status") != Some(s)) else { return Ok(created) };
        let mut whole = (*created).clone();
        whole["status"] = status;
        Ok(self.client.update_status(&resource, whole).await?)
    }

    /// Creates or updates an object by server-side apply under the manager `test`.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn apply(&self, object: Value) -> Result<Arc<Value>> {
        let resource = self.resource_of(&object)?;
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let client = self.client.clone().with_manager("test");
        Ok(client.patch(&resource, &namespace, &name, "", PatchKind::Apply { force: true }, object).await?)
    }

    /// Creates every document of a YAML text, in order.
    ///
    /// # Errors
    /// Unreadable YAML, or the server's refusal.
    pub async fn create_yaml(&self, text: &str) -> Result<Vec<Arc<Value>>> {
        let mut created = Vec::new();
        for document in serde_saphyr::from_multiple::<Value>(text).context("reading YAML")? {
            if !document.is_null() {
                created.push(self.create(document).await?);
            }
        }
        Ok(created)
    }

    /// A token of a service account for an audience (empty: the API server's own), as a pod would hold it.
    ///
    /// # Errors
    /// There is no such account.
    pub fn token(&self, namespace: &str, account: &str, audience: &str) -> Result<String> {
        let audiences = if audience.is_empty() { json!([]) } else { json!([audience]) };
        let request = json!({"spec": {"audiences": audiences, "expirationSeconds": 3600}});
        let answer = self.client.request_token(namespace, account, request)?;
        Ok(answer["status"]["token"].as_str().context("no token was issued")?.to_owned())
    }

    /// Raw HTTPS as a user in groups, by client certificate.
    ///
    /// # Errors
    /// The certificate could not be issued.
    pub fn http_as(&self, user: &str, groups: &[&str]) -> Result<Http> {
        Http::new(self, Some(&self.handle.issue_client_cert(user, groups)?), None)
    }

    /// Raw HTTPS as an administrator.
    ///
    /// # Errors
    /// The certificate could not be issued.
    pub fn http(&self) -> Result<Http> {
        self.http_as("kubernetes-admin", &["system:masters"])
    }

    /// Raw HTTPS with a bearer token, or with nothing.
    ///
    /// # Errors
    /// No TLS client could be made.
    pub fn http_with_token(&self, token: Option<&str>) -> Result<Http> {
        Http::new(self, None, token.map(str::to_owned))
    }

    fn resource_of(&self, object: &Value) -> Result<String> {
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        self.handle
            .resource_of(api_version, kind)
            .with_context(|| format!("nothing serves {kind} of {api_version}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Calls `probe` until it gives a value, at most for [`PATIENCE`].
///
/// # Errors
/// It never did; the error says what was waited for.
pub async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
