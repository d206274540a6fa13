//! Steps 2 to 9.

use super::kubernetes::Cluster;
use super::load::{Load, Summary};
use super::{Steps, checks};
use anyhow::{Context as _, Result};
use mesh_kube::kube::Api;
use mesh_kube::link::Link;
use mesh_sandbox::Sandbox;
use mesh_types::{MULTICLUSTER_NAMESPACE, labels};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SHOP: &str = include_str!("../../../../demo/manifests/shop.yaml");
const LOAD: &str = include_str!("../../../../demo/manifests/load.yaml");

/// Rates that are tried where none is asked for, until the machine carries one: requests a second.
const RATES: [u32; 5] = [500, 250, 100, 50, 20];

/// How long a rate is given to become steady, and how long what it left behind to go away.
const TRIAL: Duration = Duration::from_secs(10);

/// How long steady load is watched.
const STEADY: Duration = Duration::from_secs(5);

/// How long the loss is watched.
const LOSS: Duration = Duration::from_secs(10);

/// The longest the return may take.
const RETURN: Duration = Duration::from_secs(30);

/// Tells the story from the mesh to the checks.
pub(crate) async fn tell(sandbox: &Sandbox, rps: Option<u32>, steps: &mut Steps) -> Result<()> {
    let kubeconfig = sandbox.kubeconfig();
    let east = Cluster::connect("east", kubeconfig.clone()).await?;
    let west = Cluster::connect("west", kubeconfig).await?;
    let scratch = tempfile::tempdir().context("a scratch directory")?;

    steps.begin("mesh installed in both");
    trust(&east, scratch.path()).await?;
    tokio::try_join!(install(&east, scratch.path()), install(&west, scratch.path()))?;
    let parts = "identity √ destination √ policy √ injector √ mirror √ gateway √";
    steps.end("mesh installed in both", &format!("{parts}  {}", steps.took()));

    steps.begin("shop deployed");
    let (in_east, in_west) = tokio::try_join!(deploy(&east, true), deploy(&west, false))?;
    let meshed = in_east.0 == in_east.1 && in_west.0 == in_west.1;
    let words = if meshed { "all pods meshed" } else { "some pods are NOT meshed" };
    let mark = steps.claim(meshed);
    steps.end("shop deployed", &format!("4 services × 2 clusters, {words} {mark}  {}", steps.took()));

    link(&east, &west, steps).await?;
    export(&east, &west, steps).await?;
    traffic(sandbox, &east, &west, rps, &scratch, steps).await
}

async fn trust(cluster: &Cluster, dir: &Path) -> Result<()> {
    let dir = dir.to_str().context("the scratch directory's name is not text")?;
    cluster.meshctl(&["trust", "init", "--out", dir, "--issuer", "east", "--issuer", "west"]).await.map(drop)
}

async fn install(cluster: &Cluster, trust: &Path) -> Result<()> {
    let crds = cluster.meshctl(&["install", "--crds"]).await?;
    cluster.apply(&crds).await?;
    let file = |name: &str| trust.join(name).display().to_string();
    let control_plane = cluster
        .meshctl(&[
            "install",
            "--identity-trust-anchors-file",
            &file("ca.crt"),
            "--identity-issuer-certificate-file",
            &file(&format!("{}-issuer.crt", cluster.name)),
            "--identity-issuer-key-file",
            &file(&format!("{}-issuer.key", cluster.name)),
        ])
        .await?;
    cluster.apply(&control_plane).await?;
    cluster.rolled_out("linkerd").await?;
    let multicluster = cluster.meshctl(&["multicluster", "install"]).await?;
    cluster.apply(&multicluster).await?;
    cluster.rolled_out(MULTICLUSTER_NAMESPACE).await
}

async fn deploy(cluster: &Cluster, with_load: bool) -> Result<(usize, usize)> {
    // The pods read the cluster's name when they start, so it must be there before them.
    let (namespace, rest) = SHOP.split_once("\n---\n").context("the shop begins with its namespace")?;
    cluster.apply(namespace).await?;
    let name = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster", "namespace": "shop"},
        "data": {"name": cluster.name},
    });
    mesh_kube::apply(&cluster.client, "meshctl-demo", &name).await?;
    cluster.apply(rest).await?;
    if with_load {
        cluster.apply(LOAD).await?;
    }
    cluster.rolled_out("shop").await?;
    cluster.meshed("shop").await
}

async fn link(east: &Cluster, west: &Cluster, steps: &mut Steps) -> Result<()> {
    steps.begin("east ⇄ west linked");
    west.meshctl(&["multicluster", "link", "--to-context", "east", "--both"]).await?;
    let links: Api<Link> = Api::namespaced(east.client.clone(), MULTICLUSTER_NAMESPACE);
    let status = links.get("west").await?.status.unwrap_or_default();
    let holds = |name: &str| status.conditions.iter().any(|c| c.type_ == name && c.status == "True");
    let (trust, reach, credentials) =
        (holds("TrustEstablished"), holds("Reachable"), holds("CredentialsValid"));
    let rtt = status.gateway.unwrap_or_default().addresses.iter().filter_map(|a| a.rtt_ms).reduce(f64::min);
    let rtt = rtt.map_or(String::new(), |ms| format!(" (rtt {ms:.1} ms)"));
    let outcome = format!(
        "trust anchors match {} gateway reachable {} credentials ok {}{rtt}",
        steps.claim(trust),
        steps.claim(reach),
        steps.claim(credentials)
    );
    steps.end("east ⇄ west linked", &outcome);
    Ok(())
}

async fn export(east: &Cluster, west: &Cluster, steps: &mut Steps) -> Result<()> {
    steps.begin("catalog exported from west");
    let member = json!({(labels::FEDERATED): "member"});
    let exported = json!({(labels::FEDERATED): "member", (labels::EXPORTED): "true"});
    east.label_service("shop", "catalog", member).await?;
    west.label_service("shop", "catalog", exported).await?;
    east.service_exists("shop", "catalog-west").await?;
    east.service_exists("shop", "catalog-federated").await?;
    steps.end("catalog exported from west", "east sees catalog-west, catalog-federated");
    Ok(())
}

async fn traffic(
    sandbox: &Sandbox,
    east: &Cluster,
    west: &Cluster,
    rps: Option<u32>,
    scratch: &TempDir,
    steps: &mut Steps,
) -> Result<()> {
    steps.begin("steady load");
    east.set_env("shop", "web", "CATALOG", "catalog-federated:80").await?;
    let load = Load::find(east).await?;
    let rps = settle(&load, "east", rps).await?;
    let steady = watch(&load, STEADY).await?;
    let good = steady.failed == 0 && steady.share("east") > 99.9;
    let mark = steps.claim(good);
    let success = steady.succeeded as f64 * 100.0 / steady.total.max(1) as f64;
    let (p50, p99) = (steady.p50_us as f64 / 1000.0, steady.p99_us as f64 / 1000.0);
    let words =
        format!("{}  success {success:.2} %   p50 {p50:.1} ms  p99 {p99:.1} ms {mark}", shares(&steady));
    steps.end(&format!("steady: {rps} req/s"), &words);
    explain(&steady);

    let gateway = west.pod(MULTICLUSTER_NAMESPACE, "linkerd-gateway").await?;
    let capture =
        sandbox.capture("west", MULTICLUSTER_NAMESPACE, &gateway, &scratch.path().join("gateway.pcap"))?;
    lose(east, &load, rps, steps).await?;
    let (file, packets) = capture.end()?;
    regain(east, &load, steps).await?;
    load.rate(0).await?;

    steps.begin("checked");
    let no_plaintext = checks::no_plaintext(&file, packets)?;
    let refused = checks::not_exported_is_refused(east).await?;
    let outcome = format!(
        "no plaintext between clusters {} ({packets} packets) · non-exported web refused {}",
        steps.claim(no_plaintext),
        steps.claim(refused)
    );
    steps.end("checked", &outcome);
    Ok(())
}

/// Step 7: the catalog of east ends without a goodbye.
async fn lose(east: &Cluster, load: &Load, rps: u32, steps: &mut Steps) -> Result<()> {
    steps.begin("killed east's catalog");
    let pod = east.pod("shop", "catalog").await?;
    let killed = load.now().await?;
    east.scale("shop", "catalog", 0).await?;
    east.delete_pod_now("shop", &pod).await?;
    tokio::time::sleep(LOSS).await;
    let all = load.stats(killed, u64::MAX).await?;
    let last = load.now().await?.saturating_sub(2_000);
    let settled = load.stats(last, u64::MAX).await?;
    let shifted = all.first_ms("west").map(|at| at.saturating_sub(killed));
    let good = settled.failed == 0 && settled.share("west") > 99.9 && shifted.is_some_and(|ms| ms <= 1_000);
    let mark = steps.claim(good);
    let shifted = shifted.map_or("never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
    let outcome = format!(
        "{}  shifted in {shifted} · failed {} of {} requests at {rps}/s {mark}",
        shares(&settled),
        all.failed,
        all.total
    );
    steps.end("killed east's catalog", &outcome);
    explain(&all);
    Ok(())
}

/// Step 8: it comes back.
async fn regain(east: &Cluster, load: &Load, steps: &mut Steps) -> Result<()> {
    steps.begin("east's catalog is back");
    let before = load.now().await?;
    east.scale("shop", "catalog", 1).await?;
    east.rolled_out("shop").await?;
    let ready = load.now().await?;
    let started = Instant::now();
    let returned = loop {
        let now = load.now().await?;
        let window = load.stats(now.saturating_sub(500), now).await?;
        if window.total > 0 && window.share("east") > 99.0 {
            break Some(now.saturating_sub(500).saturating_sub(ready));
        }
        if started.elapsed() > RETURN {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let all = load.stats(before, u64::MAX).await?;
    let steady = watch(load, Duration::from_secs(2)).await?;
    let mark = steps.claim(returned.is_some() && all.failed == 0 && steady.share("east") > 99.0);
    let returned = returned.map_or("never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
    let outcome = format!("{}  returned in {returned} · failed {} {mark}", shares(&steady), all.failed);
    steps.end("east's catalog is back", &outcome);
    explain(&all);
    Ok(())
}

/// Waits until a second of load is answered by `cluster` alone, so that connections are warm. Answers with the rate:
/// the one asked for, or the highest of [`RATES`] that the machine carries.
async fn settle(load: &Load, cluster: &str, rps: Option<u32>) -> Result<u32> {
    let (rates, patience) =
        rps.as_ref().map_or((&RATES[..], TRIAL), |rps| (std::slice::from_ref(rps), RETURN));
    let mut tried = 0;
    for &rate in rates {
        if tried > 0 {
            drain(load).await?;
        }
        tried = rate;
        load.rate(rate).await?;
        let started = Instant::now();
        while started.elapsed() < patience {
            let window = watch(load, Duration::from_secs(1)).await?;
            let prompt = window.total >= u64::from(rate) * 9 / 10;
            if window.failed == 0 && prompt && window.share(cluster) > 99.9 {
                return Ok(rate);
            }
        }
    }
    Ok(tried)
}

/// Stops the load, and waits until nothing ends any more.
async fn drain(load: &Load) -> Result<()> {
    load.rate(0).await?;
    let started = Instant::now();
    let mut ended = 0;
    while started.elapsed() < TRIAL {
        let before = std::mem::replace(&mut ended, load.stats(0, u64::MAX).await?.total);
        if before == ended {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// What came back during the next `span`.
async fn watch(load: &Load, span: Duration) -> Result<Summary> {
    let since = load.now().await?;
    tokio::time::sleep(span).await;
    let until = load.now().await?;
    load.stats(since, until).await
}

fn shares(summary: &Summary) -> String {
    format!("east {:>3.0} %  west {:>3.0} %", summary.share("east"), summary.share("west"))
}

/// The words of the first few failures, below the step.
fn explain(summary: &Summary) {
    let mut seen: Vec<&str> = summary.failures.iter().map(|f| f.reason.as_str()).collect();
    seen.dedup();
    for reason in seen.into_iter().take(3) {
        eprintln!("        failed: {reason}");
    }
}
