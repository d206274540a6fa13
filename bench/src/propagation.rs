//! From a change of a service in one cluster to its first effect in the other's proxy.
//!
//! The exported service `flip` in west has one endpoint, made ready and unready by hand. A generator in east asks
//! `flip-west` five hundred times a second; the first answer after `ready` was written is the first effect.

use crate::fleet::Cluster;
use crate::generator::{Generator, manifest};
use crate::report::{Figure, Report, quantile};
use anyhow::{Context as _, Result};
use mesh_kube::kube::ResourceExt as _;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime};

/// Requests a second: effects are seen two milliseconds apart.
const RATE: u32 = 500;
/// No effect takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures `events` changes.
pub(crate) async fn measure(east: &Cluster, west: &Cluster, events: u32, report: &mut Report) -> Result<()> {
    flip_service(west).await?;
    flip(west, true).await?;
    east.service("bench", "flip-west").await?;
    east.apply(&manifest("bench", "load-flip", "flip-west:80")).await?;
    east.rolled_out("bench").await?;
    let mut load = Generator::connect(east, "bench", "load-flip").await?;
    load.rate(RATE).await?;
    until_all(&mut load, true).await?;
    let (mut ready, mut late) = (Vec::new(), 0u32);
    for _ in 0..events {
        flip(west, false).await?;
        until_all(&mut load, false).await?;
        let written = unix_millis();
        flip(west, true).await?;
        match first_success(&mut load, written).await? {
            Some(at) => ready.push(at.saturating_sub(written) as f64),
            None => late += 1,
        }
    }
    load.rate(0).await?;
    ready.sort_by(f64::total_cmp);
    let note = format!("{} events, {late} without effect in {PATIENCE:?}", ready.len());
    report.add(
        Figure::new("change in west to effect in east's proxy, p50", quantile(&ready, 0.5), "ms").note(note),
    );
    report.add(
        Figure::new("change in west to effect in east's proxy, p99", quantile(&ready, 0.99), "ms")
            .goal(250.0),
    );
    report.add(Figure::new("change in west to effect in east's proxy, max", quantile(&ready, 1.0), "ms"));
    Ok(())
}

async fn flip_service(west: &Cluster) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "flip", "namespace": "bench", "labels": {"mirror.linkerd.io/exported": "true"}},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    });
    mesh_kube::apply(&west.client, "mesh-bench", &service).await?;
    Ok(())
}

async fn flip(west: &Cluster, ready: bool) -> Result<()> {
    let pod = west.pod("bench", "echo").await?;
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).context("echo has no address")?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "flip-1", "namespace": "bench", "labels": {
            "kubernetes.io/service-name": "flip", "mirror.linkerd.io/exported": "true",
        }},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": [ip], "conditions": {"ready": ready, "serving": ready, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "bench", "name": pod.name_any()},
        }],
    });
    mesh_kube::apply(&west.client, "mesh-bench", &slice).await?;
    Ok(())
}

/// Waits until a tenth of a second of requests has succeeded, or failed, without exception.
async fn until_all(load: &mut Generator, succeed: bool) -> Result<()> {
    let started = Instant::now();
    loop {
        let since = load.now().await?.saturating_sub(100);
        let summary = load.stats(since).await?;
        let same = if succeed { summary.failed == 0 } else { summary.failed == summary.total };
        if summary.total > 10 && same {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let reasons: Vec<_> = summary.failures.iter().map(|f| f.reason.as_str()).take(2).collect();
            anyhow::bail!("flip-west does not become {succeed} for its client: {}", reasons.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn first_success(load: &mut Generator, since: u64) -> Result<Option<u64>> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(at) = load.stats(since).await?.first_success() {
            return Ok(Some(at));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(None)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
