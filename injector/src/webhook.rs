//! The mutating webhook: HTTPS in front of [`inject`](crate::inject), its certificate, and what it knows of the
//! cluster.
//!
//! It becomes ready when the API server can call it: configuration read, certificate written to the webhook
//! configuration, listener open.

mod admission;
mod certificate;
mod owner;
mod server;
mod state;

use crate::Error;
use certificate::Keeper;
use mesh_kube::Client;
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use state::State;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;

/// Name of the webhook configuration whose `caBundle` is kept.
pub const WEBHOOK_CONFIGURATION: &str = "linkerd-proxy-injector-webhook-config";
/// Name of the Secret with the webhook's certificate.
pub const CERTIFICATE_SECRET: &str = "linkerd-proxy-injector-k8s-tls";
/// Component name in events and user agents.
const COMPONENT: &str = "linkerd-proxy-injector";

/// How the webhook runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens for the API server.
    pub addr: SocketAddr,
    /// Namespace of the control plane.
    pub namespace: String,
}

/// Serves until the drain begins. `admin` is told when the webhook is ready.
///
/// # Errors
/// When the listener cannot be opened. Trouble with the API server is waited out.
pub async fn run(
    config: Config,
    client: Client,
    registry: &Registry,
    admin: AdminState,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind(config.addr)
        .await
        .map_err(|source| Error::Listen { addr: config.addr, source })?;
    let state = Arc::new(State::new(client.clone(), config.namespace.clone(), registry));
    drop(shutdown.spawn_until_drain("watch-version", state.clone().watch_version()));
    drop(shutdown.spawn_until_drain("watch-config", state.clone().watch_config()));
    drop(shutdown.spawn_until_drain("watch-namespaces", state.clone().watch_namespaces()));
    let keeper = Keeper::new(client, config.namespace);
    let acceptor = keeper.acceptor();
    drop(shutdown.spawn_until_drain("certificate", keeper.run()));
    drop(shutdown.spawn_until_drain("readiness", {
        let (state, acceptor) = (state.clone(), acceptor.clone());
        async move {
            acceptor.ready().await;
            state.synced().await;
            info!("webhook is ready");
            admin.set_ready(true);
        }
    }));
    server::serve(listener, acceptor, state, &shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests;
