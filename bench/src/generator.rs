//! A load generator in a cluster, spoken to over one port-forward.

use crate::fleet::Cluster;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::ResourceExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The port of its own HTTP server.
const PORT: u16 = 8080;

/// A span summed up. Times are milliseconds of Unix time, latencies microseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) total: u64,
    pub(crate) failed: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    clusters: BTreeMap<String, Answers>,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Answers {
    first_ms: u64,
}

/// One failed request.
#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    pub(crate) reason: String,
}

impl Summary {
    /// When the first request was answered.
    pub(crate) fn first_success(&self) -> Option<u64> {
        self.clusters.values().map(|a| a.first_ms).min()
    }
}

/// The generator.
pub(crate) struct Generator {
    sender: SendRequest<Empty<Bytes>>,
}

impl Generator {
    pub(crate) async fn connect(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let pod = cluster.pod(namespace, name).await?.name_any();
        let mut forward =
            pods.portforward(&pod, &[PORT]).await.context("port-forward to the load generator")?;
        let stream = forward.take_stream(PORT).context("port-forward gave no stream")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            drop(connection.await);
            drop(forward);
        });
        Ok(Self { sender })
    }

    pub(crate) async fn rate(&mut self, rps: u32) -> Result<()> {
        self.get::<serde_json::Value>(&format!("/rate?rps={rps}")).await.map(drop)
    }

    /// The generator's clock, which is this machine's: milliseconds of Unix time.
    pub(crate) async fn now(&mut self) -> Result<u64> {
        self.get("/now").await
    }

    pub(crate) async fn stats(&mut self, since: u64) -> Result<Summary> {
        self.get(&format!("/stats?since={since}")).await
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let request = Request::get(path).header(header::HOST, "load").body(Empty::<Bytes>::new())?;
        self.sender.ready().await.context("the port-forward has ended")?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            bail!("load generator: {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("load generator: {path}"))
    }
}

/// The manifest of a generator.
pub(crate) fn manifest(namespace: &str, name: &str, target: &str) -> String {
    include_str!("../manifests/generator.yaml")
        .replace("NAMESPACE", namespace)
        .replace("NAME", name)
        .replace("TARGET", target)
}
