//! The clusters that are up, as a file that tests read: names, contexts, nodes, addresses, and the tools that reach them.

use super::engine::Engine;
use super::places;
use super::step::output;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// The network that kind puts nodes into.
pub(crate) const NETWORK: &str = "kind";

/// A container that is a node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The container's name, which is also the Kubernetes node's.
    pub(crate) name: String,
    /// `control-plane` or `worker`.
    pub(crate) role: String,
    /// Its address in the network of all nodes.
    pub(crate) address: String,
    /// The first process in the container, as this machine counts; 0 when it does not run.
    pub(crate) pid: u32,
    /// Whether its processes run: it is neither stopped nor paused.
    pub(crate) runs: bool,
}

/// The nodes of a cluster, the control plane first.
pub(crate) fn nodes(engine: &Engine, cluster: &str) -> Result<Vec<Node>> {
    let ids = containers(engine, Some(cluster))?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let listed = output(engine.docker().arg("inspect").args(&ids))?;
    let listed: Value = serde_json::from_str(&listed).context("docker inspect")?;
    let mut nodes: Vec<Node> = listed.as_array().into_iter().flatten().map(node).collect();
    nodes.sort_by(|a, b| (&a.role, &a.name).cmp(&(&b.role, &b.name)));
    Ok(nodes)
}

fn node(container: &Value) -> Node {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = &container["State"];
    let runs = state["Running"].as_bool().unwrap_or(false) && !state["Paused"].as_bool().unwrap_or(false);
    Node {
        name: text(&container["Name"]).trim_start_matches('/').to_owned(),
        role: text(&container["Config"]["Labels"]["io.x-k8s.kind.role"]),
        address: text(&container["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]),
        pid: state["Pid"].as_u64().and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        runs,
    }
}

/// The containers of a cluster, or of all kind clusters of the engine.
pub(crate) fn containers(engine: &Engine, cluster: Option<&str>) -> Result<Vec<String>> {
    let label = match cluster {
        Some(name) => format!("label=io.x-k8s.kind.cluster={name}"),
        None => "label=io.x-k8s.kind.cluster".to_owned(),
    };
    let listed = output(engine.docker().args(["ps", "--all", "--quiet", "--filter", &label]))?;
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}

/// A kubectl for a cluster.
pub(crate) fn kubectl(context: &str) -> Result<Command> {
    let mut kubectl = Command::new(kubectl_path()?);
    kubectl.args(["--kubeconfig", places::KUBECONFIG, "--context", context]);
    Ok(kubectl)
}

/// The kubectl of the clusters' version.
pub(crate) fn kubectl_path() -> Result<PathBuf> {
    Ok(places::cache("bin")?.join("kubectl"))
}

/// What is written about the clusters that are up.
pub(crate) struct Fleet {
    /// Their names.
    pub(crate) clusters: Vec<String>,
    /// Whether pods of different clusters are routed to each other.
    pub(crate) flat: bool,
}

impl Fleet {
    /// Writes the file.
    pub(crate) fn write(&self, engine: &Engine) -> Result<()> {
        let mut clusters = Vec::new();
        for name in &self.clusters {
            let nodes = nodes(engine, name)?;
            let api =
                nodes.iter().find(|n| n.role == "control-plane").context("a cluster has a control plane")?;
            clusters.push(json!({
                "name": name,
                "context": name,
                "apiServer": format!("https://{}:6443", api.address),
                "nodes": nodes
                    .iter()
                    .map(|n| json!({"name": n.name, "role": n.role, "address": n.address}))
                    .collect::<Vec<_>>(),
            }));
        }
        let fleet = json!({
            "kubeconfig": places::KUBECONFIG,
            "kubectl": kubectl_path()?,
            "dockerHost": engine.host,
            "network": NETWORK,
            "flat": self.flat,
            "toolsImage": super::node_image::TOOLS_IMAGE,
            "clusters": clusters,
        });
        std::fs::write(places::FLEET, format!("{fleet:#}\n"))
            .with_context(|| format!("cannot write {}", places::FLEET))
    }

    /// Reads the file; `None` when no clusters are up.
    pub(crate) fn read() -> Result<Option<Self>> {
        let Ok(text) = std::fs::read_to_string(places::FLEET) else { return Ok(None) };
        let fleet: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", places::FLEET))?;
        let clusters = fleet["clusters"].as_array().into_iter().flatten();
        Ok(Some(Self {
            clusters: clusters.filter_map(|c| c["name"].as_str().map(str::to_owned)).collect(),
            flat: fleet["flat"].as_bool().unwrap_or(false),
        }))
    }
}
