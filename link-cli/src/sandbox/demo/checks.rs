//! The claims of the story, checked on what is really there.

use super::kubernetes::Cluster;
use anyhow::{Context as _, Result};
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::AttachParams;
use mesh_kube::link::Link;
use mesh_types::{annotations, labels};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

/// Words that every catalog answer holds, and that no packet between clusters may.
const PLAINTEXT: &[&[u8]] = &[b"lantern", b"GET /items", b"x-cluster"];

/// Processes that were told to end may take so long.
const ENDING: Duration = Duration::from_secs(5);

/// Whether captured packets hold nothing readable. A capture without packets proves nothing and fails.
pub(crate) fn no_plaintext(file: &Path, packets: u64) -> Result<bool> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let readable = PLAINTEXT.iter().any(|word| bytes.windows(word.len()).any(|w| w == *word));
    Ok(packets > 0 && !readable)
}

/// Whether the gateway of `west` refuses a service that is not exported, although the caller holds a valid mesh
/// certificate: `east` is given endpoints for it by hand, as an attacker with rights there could do.
pub(crate) async fn not_exported_is_refused(east: &Cluster) -> Result<bool> {
    let links: Api<Link> = Api::namespaced(east.client.clone(), mesh_types::MULTICLUSTER_NAMESPACE);
    let link = links.get("west").await?;
    let gateway = link.status.and_then(|s| s.gateway).context("the link to west has no gateway")?;
    let address = gateway.addresses.first().context("the gateway of west has no address")?.address.clone();
    for object in forged(&address, &link.spec.gateway_identity.unwrap_or_default()) {
        mesh_kube::apply(&east.client, "meshctl-demo", &object).await?;
    }
    let answer = call(east, &["--timeout", "5", "forged-web:80/"]).await?;
    let status = answer["status"].as_u64();
    // 403 says that it was refused; anything that succeeded would be a hole.
    Ok(answer["ok"] == false && status == Some(403))
}

/// A Service and a slice that lead to west's gateway under the name of its `web`, which is not exported.
fn forged(address: &str, identity: &str) -> [Value; 2] {
    let port = json!([{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}]);
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "forged-web", "namespace": "shop"}, "spec": {"ports": port},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "forged-web", "namespace": "shop", "labels": {(labels::SERVICE_NAME): "forged-web"},
                "annotations": {
                    (annotations::REMOTE_GATEWAY_IDENTITY): identity,
                    (annotations::REMOTE_SVC_FQ_NAME): "web.shop.svc.cluster.local",
                },
            },
            "ports": [{"name": "http", "port": 4143, "protocol": "TCP", "appProtocol": "http"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        }),
    ]
}

/// One call from inside east's load pod, as JSON.
async fn call(east: &Cluster, args: &[&str]) -> Result<Value> {
    let pods: Api<Pod> = Api::namespaced(east.client.clone(), "shop");
    let pod = east.pod("shop", "load").await?;
    let mut command = vec!["/isthmus/isthmus-demo", "call"];
    command.extend(args);
    let params = AttachParams::default().stdout(true).stderr(false).container("load");
    let mut process = pods.exec(&pod, command, &params).await.context("exec in the load pod")?;
    let mut output = String::new();
    if let Some(mut stdout) = process.stdout() {
        stdout.read_to_string(&mut output).await?;
    }
    serde_json::from_str(output.trim()).with_context(|| format!("a call answered {output:?}"))
}

/// Every process below the supervisor `pid`, itself included.
pub(crate) fn processes_below(pid: u32) -> BTreeSet<u32> {
    let parents = living();
    let mut below = BTreeSet::from([pid]);
    loop {
        let more: Vec<u32> =
            parents.iter().filter(|(_, p)| below.contains(&p.parent)).map(|(child, _)| *child).collect();
        let before = below.len();
        below.extend(more);
        if below.len() == before {
            return below;
        }
    }
}

/// Those of `processes` that still live after a moment to end in.
pub(crate) fn leftovers(processes: &BTreeSet<u32>) -> Vec<String> {
    let deadline = Instant::now() + ENDING;
    loop {
        let living = living();
        let left = living.iter().filter(|(pid, _)| processes.contains(pid));
        let left: Vec<String> = left.map(|(pid, p)| format!("{} ({pid})", p.name)).collect();
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Process {
    name: String,
    parent: u32,
}

/// Every process that has not ended, by id, from `/proc/<pid>/stat`: `pid (name) state parent …`.
fn living() -> BTreeMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (state != "Z").then(|| (pid, Process { name: name.to_owned(), parent }))
    });
    processes.collect()
}
