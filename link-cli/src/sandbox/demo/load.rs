//! The load generator seen through a port-forward: its rate, and what came back.

use super::kubernetes::Cluster;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The port of the generator's own HTTP server.
const PORT: u16 = 8080;

/// A span summed up, as `/stats` tells it. Times are milliseconds of Unix time, latencies microseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) clusters: BTreeMap<String, ClusterSummary>,
    pub(crate) failures: Vec<Failure>,
}

/// The answers of one cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct ClusterSummary {
    pub(crate) count: u64,
    pub(crate) first_ms: u64,
}

/// One failed request.
#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) reason: String,
}

impl Summary {
    /// The share of answers from a cluster, in percent.
    pub(crate) fn share(&self, cluster: &str) -> f64 {
        let count = self.clusters.get(cluster).map_or(0, |c| c.count);
        if self.succeeded == 0 { 0.0 } else { count as f64 * 100.0 / self.succeeded as f64 }
    }

    /// When a cluster first answered in this span.
    pub(crate) fn first_ms(&self, cluster: &str) -> Option<u64> {
        self.clusters.get(cluster).map(|c| c.first_ms)
    }
}

/// The generator in one cluster.
pub(crate) struct Load {
    pods: Api<Pod>,
    pod: String,
}

impl Load {
    pub(crate) async fn find(cluster: &Cluster) -> Result<Self> {
        let pod = cluster.pod("shop", "load").await?;
        Ok(Self { pods: Api::namespaced(cluster.client.clone(), "shop"), pod })
    }

    pub(crate) async fn rate(&self, rps: u32) -> Result<()> {
        self.get::<serde_json::Value>(&format!("/rate?rps={rps}")).await.map(drop)
    }

    /// The generator's clock, milliseconds of Unix time.
    pub(crate) async fn now(&self) -> Result<u64> {
        self.get("/now").await
    }

    pub(crate) async fn stats(&self, since: u64, until: u64) -> Result<Summary> {
        self.get(&format!("/stats?since={since}&until={until}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut forward =
            self.pods.portforward(&self.pod, &[PORT]).await.context("port-forward to the load generator")?;
        let stream = forward.take_stream(PORT).context("port-forward gave no stream")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::get(path).header(header::HOST, "load").body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        drop(sender);
        driver.abort();
        if status != StatusCode::OK {
            bail!("load generator: {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("load generator: {path}: {}", String::from_utf8_lossy(&body)))
    }
}
