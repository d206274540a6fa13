//! What can be reached from inside this cluster: asked by `meshctl multicluster link` before it links, in the very pod
//! that will do the mirroring, so that the answer does not depend on where people sit.

use crate::model::{Key, LinkConfig, Selector};
use crate::probe::probe;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::ConfigMap;
use mesh_kube::kube::Api;
use mesh_tls::{TrustBundle, client_connector, server_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// No single attempt takes longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Request {
    /// Gateway addresses or host names, each with the port that traffic takes.
    pub gateways: Vec<String>,
    /// Port and path of the gateway's readiness.
    pub probe_port: u16,
    /// Path of the gateway's readiness.
    pub probe_path: String,
    /// TLS identity the gateway must prove.
    pub identity: String,
    /// Hosts and ports under which the linked cluster's API server may answer.
    pub api_servers: Vec<String>,
    /// The CA that the API server's certificate must chain to, PEM.
    pub api_server_ca: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// One entry a gateway address; a host name has as many as it resolves to.
    pub gateways: Vec<Attempt>,
    /// One entry an address of the API server, in the order of the request.
    pub api_servers: Vec<Attempt>,
}

/// One attempt.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Where to.
    pub address: String,
    /// Time taken, where it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tries everything once, at the same time.
///
/// # Errors
/// When the own trust anchors cannot be read.
pub async fn reach(
    client: &Client,
    control_plane: &str,
    request: &Request,
) -> Result<Report, mesh_kube::Error> {
    let bundle = trust_bundle(client, control_plane).await?;
    let link = as_link(request);
    let gateways = request.gateways.iter().map(|address| gateway(address, &link, &bundle));
    let api_servers = request.api_servers.iter().map(|address| async {
        let outcome =
            tokio::time::timeout(TIMEOUT, api_server(address, request.api_server_ca.as_deref())).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("does not answer within {TIMEOUT:?}")));
        attempt(address.clone(), outcome)
    });
    let (gateways, api_servers) =
        tokio::join!(futures::future::join_all(gateways), futures::future::join_all(api_servers));
    Ok(Report { gateways: gateways.concat(), api_servers })
}

/// Every address behind one gateway's name, as seen from here.
async fn gateway(address: &str, link: &LinkConfig, bundle: &TrustBundle) -> Vec<Attempt> {
    let resolved = match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => found.collect::<BTreeSet<SocketAddr>>(),
        Ok(Err(error)) => {
            return vec![attempt(address.to_owned(), Err(format!("cannot be resolved here: {error}")))];
        }
        Err(_) => {
            return vec![attempt(address.to_owned(), Err(format!("cannot be resolved within {TIMEOUT:?}")))];
        }
    };
    let attempts = resolved.into_iter().map(|addr| async move {
        let outcome = probe(addr.ip(), addr.port(), link, bundle).await;
        let shown =
            if addr.to_string() == address { addr.to_string() } else { format!("{address} ({})", addr.ip()) };
        attempt(shown, outcome.map_err(|e| e.to_string()))
    });
    futures::future::join_all(attempts).await
}

async fn trust_bundle(client: &Client, control_plane: &str) -> Result<TrustBundle, mesh_kube::Error> {
    let name = "linkerd-identity-trust-roots";
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), control_plane);
    let map = maps.get(name).await?;
    let object = || format!("ConfigMap {control_plane}/{name}");
    let pem = map.data.as_ref().and_then(|d| d.get("ca-bundle.crt"));
    let pem = pem.ok_or_else(|| mesh_kube::Error::Object {
        object: object(),
        problem: "has no ca-bundle.crt".into(),
    })?;
    TrustBundle::from_pem(pem)
        .map_err(|e| mesh_kube::Error::Object { object: object(), problem: e.to_string() })
}

fn as_link(request: &Request) -> LinkConfig {
    // Any cluster name will do: only the probe's part of the settings is read.
    let cluster = "probed".parse().unwrap_or_else(|_| unreachable!("a valid label"));
    LinkConfig {
        key: Key::new("", ""),
        cluster,
        target_domain: String::new(),
        gateway_identity: request.identity.clone(),
        exported: Selector::default(),
        federated: Selector::default(),
        excluded_annotations: vec![],
        excluded_labels: vec![],
        probe_period: TIMEOUT,
        probe_timeout: TIMEOUT,
        probe_failures: 1,
        probe_path: request.probe_path.clone(),
        probe_port: request.probe_port,
    }
}

fn attempt(address: String, outcome: Result<Duration, String>) -> Attempt {
    match outcome {
        Ok(rtt) => Attempt { address, rtt_ms: Some(rtt.as_secs_f64() * 1000.0), error: None },
        Err(error) => Attempt { address, rtt_ms: None, error: Some(error) },
    }
}

/// Connects and, where the CA is known, checks that the server is the right one.
async fn api_server(address: &str, ca: Option<&str>) -> Result<Duration, String> {
    let started = Instant::now();
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    if let Some(ca) = ca {
        let bundle = TrustBundle::from_pem(ca).map_err(|e| e.to_string())?;
        let connector = client_connector(&bundle, None, &[]).map_err(|e| e.to_string())?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = server_name(host.trim_matches(['[', ']'])).map_err(|e| e.to_string())?;
        connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    }
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests;
