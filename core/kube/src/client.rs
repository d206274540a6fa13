//! Clients: from a kubeconfig file and context, from a kubeconfig in a Secret, or from inside a pod.

use crate::Error;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;
use std::time::Duration;

/// Connecting to an API server must not take longer; reads are not limited, since watches are long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How people name a cluster on the command line.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// A kubeconfig file; `KUBECONFIG` or `~/.kube/config` where absent.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; its current one where absent.
    pub context: Option<String>,
    /// A user to act as.
    pub impersonate: Option<String>,
    /// Groups to act with.
    pub impersonate_groups: Vec<String>,
}

/// A client for a kubeconfig context.
///
/// # Errors
/// [`Error::Kubeconfig`] naming the file, [`Error::Context`] with the contexts there are, [`Error::Client`].
pub async fn connect(connection: &Connection) -> Result<Client, Error> {
    let kubeconfig = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(|e| Error::Kubeconfig { path: connection.kubeconfig.clone(), reason: reason(&e) })?;
    if let Some(context) = &connection.context
        && !kubeconfig.contexts.iter().any(|c| c.name == *context)
    {
        let known = kubeconfig.contexts.iter().map(|c| c.name.clone()).collect();
        return Err(Error::Context { name: context.clone(), known });
    }
    client(kubeconfig, connection).await
}

/// A client for the current context of a kubeconfig text.
///
/// # Errors
/// [`Error::KubeconfigText`].
pub async fn connect_kubeconfig(text: &str) -> Result<Client, Error> {
    let unusable = |e: &dyn std::fmt::Display| {
        // Parsers draw the input below their message; a kubeconfig holds secrets.
        Error::KubeconfigText(e.to_string().lines().next().unwrap_or_default().to_owned())
    };
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|e| unusable(&e))?;
    client(kubeconfig, &Connection::default()).await.map_err(|e| match e {
        Error::Kubeconfig { reason, .. } => unusable(&reason),
        other => other,
    })
}

/// A client for the cluster this pod runs in.
///
/// # Errors
/// [`Error::NotInCluster`].
pub fn in_cluster() -> Result<Client, Error> {
    mesh_tls::install_provider();
    let mut config = Config::incluster().map_err(|e| Error::NotInCluster(e.to_string()))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    finish(config)
}

async fn client(kubeconfig: Kubeconfig, connection: &Connection) -> Result<Client, Error> {
    mesh_tls::install_provider();
    let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| unreadable(&e))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.auth_info.impersonate.clone_from(&connection.impersonate);
    if !connection.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(connection.impersonate_groups.clone());
    }
    finish(config)
}

fn unreadable(error: &kube::config::KubeconfigError) -> Error {
    Error::Kubeconfig { path: None, reason: error.to_string() }
}

/// Why a kubeconfig cannot be read. The path stands before it, so the library's own naming of it is left out.
fn reason(error: &kube::config::KubeconfigError) -> String {
    match error {
        kube::config::KubeconfigError::ReadConfig(source, _) => source.to_string(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

fn finish(config: Config) -> Result<Client, Error> {
    let server = config.cluster_url.to_string();
    Client::try_from(config).map_err(|e| Error::Client { server, reason: e.to_string() })
}

#[cfg(test)]
mod tests;
