//! Refuses to drop a trust anchor that a running proxy needs: to verify others, or to be verified by them.

use crate::installed::{ISSUER, Source};
use crate::report::Problem;
use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::Api;
use mesh_kube::kube::ResourceExt;
use mesh_kube::kube::api::ListParams;
use mesh_tls::{Authority, TrustBundle};
use mesh_types::{labels, ports};
use serde_json::Value;
use std::time::Duration;

/// How long identity may take to say who holds what.
const PATIENCE: Duration = Duration::from_secs(10);

/// Metrics of identity: proxies that hold the bundle in force, and those that hold another.
const HOLDERS: [&str; 2] = ["identity_trust_bundle_holders_current", "identity_trust_bundle_holders_stale"];

/// What decides whether an anchor may go.
#[derive(Clone, Debug)]
struct Facts {
    /// Why the issuer in force would not stand under the anchors that remain.
    issuer_falls: Option<String>,
    /// Time since the issuer in force was put there; `None` where nobody can tell.
    issuer_for: Option<Duration>,
    /// Life of the certificates that proxies hold.
    leaf_life: Duration,
    /// Pods with a proxy.
    proxies: u64,
    /// Proxies that confirmed the bundle in force, and those that hold another; or why nobody can tell.
    holders: Result<(u64, u64), String>,
}

/// Fails where the anchors of `values` lack one of `before` that is still needed.
pub(super) async fn kept(source: &Source, before: &str, values: &Value) -> anyhow::Result<()> {
    let Ok(before) = TrustBundle::from_pem(before) else { return Ok(()) };
    let pem = values["identityTrustAnchorsPEM"].as_str().unwrap_or_default();
    let after = TrustBundle::from_pem(pem).context("the trust anchors cannot be used")?;
    if before.certs().iter().all(|c| after.certs().contains(c)) {
        return Ok(());
    }
    match obstacle(&facts(source, &after, values).await?) {
        None => Ok(()),
        Some((why, fix)) => Err(Problem::new(
            "a trust anchor in use would be dropped",
            why,
            format!("{fix}; or pass --force"),
        )
        .into()),
    }
}

/// Why the anchor must stay, and what to do about it.
fn obstacle(facts: &Facts) -> Option<(String, String)> {
    if let Some(why) = &facts.issuer_falls {
        return Some((
            format!("the issuer in force stands below it: {why}"),
            "give a bundle of the old and the new anchor first, then an issuer below the new one, and drop the old \
             anchor last"
                .to_owned(),
        ));
    }
    let Some(age) = facts.issuer_for else {
        return Some((
            "the issuer in force does not say how long it has been there, so proxies may hold older certificates"
                .to_owned(),
            "run this against the cluster".to_owned(),
        ));
    };
    if age < facts.leaf_life {
        let left = facts.leaf_life.saturating_sub(age).as_secs();
        return Some((
            format!(
                "proxies may hold certificates of the issuer before, for another {} h {} min",
                left / 3600,
                left / 60 % 60
            ),
            "wait until then, or restart every injected pod".to_owned(),
        ));
    }
    match &facts.holders {
        Err(why) => Some((
            format!("identity cannot be asked who holds which trust bundle: {why}"),
            "see whether it runs:  meshctl check".to_owned(),
        )),
        Ok((_, stale)) if *stale > 0 => Some((
            format!("{stale} proxies hold another trust bundle than the one in force"),
            "wait a minute and try again, or restart them (meshctl check --proxy names them)".to_owned(),
        )),
        Ok((current, _)) if *current < facts.proxies => Some((
            format!("only {current} of {} proxies have confirmed the trust bundle in force", facts.proxies),
            "restart the others:  kubectl rollout restart deploy/…   (meshctl check --proxy names them)"
                .to_owned(),
        )),
        Ok(_) => None,
    }
}

async fn facts(source: &Source, after: &TrustBundle, values: &Value) -> anyhow::Result<Facts> {
    let secret = source.secret(ISSUER).await?;
    let issuer = secret.as_ref().and_then(authority);
    let lifetime = values["identity"]["issuer"]["issuanceLifetime"].as_str().unwrap_or_default();
    let mut facts = Facts {
        issuer_falls: issuer.and_then(|i| i.verify(after).err()).map(|e| e.to_string()),
        issuer_for: secret.as_ref().and_then(written).map(|at| since(at, Timestamp::now())),
        leaf_life: crate::values::durations(lifetime).unwrap_or(Duration::from_secs(24 * 3600)),
        proxies: 0,
        holders: Err("it runs in no cluster".to_owned()),
    };
    // What identity says counts only where nothing simpler decides.
    if let Source::Cluster { client, namespace } = source
        && obstacle(&Facts { holders: Ok((0, 0)), ..facts.clone() }).is_none()
    {
        facts.proxies = proxies(client, namespace).await?;
        let asked = tokio::time::timeout(PATIENCE, holders(client, namespace)).await;
        facts.holders = match asked {
            Ok(answer) => answer.map_err(|e| format!("{e:#}")),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
    }
    Ok(facts)
}

fn authority(secret: &Value) -> Option<Authority> {
    let text = |names: [&str; 2]| names.iter().find_map(|n| crate::installed::secret_text(secret, n));
    let (cert, key) = text(["crt.pem", "tls.crt"]).zip(text(["key.pem", "tls.key"]))?;
    Authority::from_pem(&cert, &key).ok()
}

/// When an object's content was last written: by the newest of its managers, else its creation.
fn written(object: &Value) -> Option<Timestamp> {
    let meta = &object["metadata"];
    let times = meta["managedFields"].as_array().into_iter().flatten().map(|m| &m["time"]);
    let newest = times.filter_map(|t| t.as_str()?.parse::<Timestamp>().ok()).max();
    newest.or_else(|| meta["creationTimestamp"].as_str()?.parse().ok())
}

fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(now.as_second() - at.as_second()).unwrap_or(0))
}

/// Running pods with a proxy of this control plane.
async fn proxies(client: &Client, namespace: &str) -> anyhow::Result<u64> {
    let pods: Api<Pod> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("{}={namespace}", labels::CONTROL_PLANE_NS));
    let list = pods.list(&ours).await.map_err(|e| crate::install_checks::unreachable(&e))?;
    let running = |p: &&Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    Ok(list.items.iter().filter(running).count() as u64)
}

/// Proxies that hold the bundle in force and those that do not, summed over the replicas of identity.
async fn holders(client: &Client, namespace: &str) -> anyhow::Result<(u64, u64)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let identity = ListParams::default().labels(&format!("{}=identity", labels::CONTROL_PLANE_COMPONENT));
    let list = pods.list(&identity).await.context("its pods cannot be listed")?;
    anyhow::ensure!(!list.items.is_empty(), "it has no pod");
    let mut sums = (0, 0);
    for pod in &list.items {
        let text =
            metrics(&pods, &pod.name_any()).await.with_context(|| format!("pod {}", pod.name_any()))?;
        let value = |name: &str| sample(&text, name).with_context(|| format!("no metric {name}"));
        sums.0 += value(HOLDERS[0])?;
        sums.1 += value(HOLDERS[1])?;
    }
    Ok(sums)
}

fn sample(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|n| n as u64)
}

/// The metrics of a pod's controller, through the API server.
async fn metrics(pods: &Api<Pod>, name: &str) -> anyhow::Result<String> {
    let port = ports::CONTROLLER_ADMIN;
    let mut forward =
        pods.portforward(name, &[port]).await.map_err(|e| anyhow::anyhow!(mesh_kube::explain(&e)))?;
    let stream = forward.take_stream(port).context("the port-forward gave no stream")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get("/metrics").header("host", "localhost").body(Empty::<Bytes>::new())?;
    let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    driver.abort();
    forward.abort();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[cfg(test)]
mod tests;
