//! Two clusters made by `kind` as a substrate. `cargo xtask kind up` brings them up and writes down where they are; every
//! test process finds them as they are, takes off what another left, and breaks them from below: nodes are containers
//! of this machine.

mod node;

use crate::cluster::Cluster;
use crate::eventually;
use crate::fleet::{Capture, Faults};
use anyhow::{Context as _, Result, bail, ensure};
pub use node::Node;
use node::host_process_of;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The variable that names the file in which the clusters are written down.
const FLEET: &str = "ISTHMUS_KIND";

/// The port of a node's API server.
const API: u16 = 6443;

/// The namespaces that a cluster is born with, or that belong to the test bed.
const KEPT: &[&str] =
    &["default", "kube-node-lease", "kube-public", "kube-system", "local-path-storage", "isthmus-testbed"];

/// The clusters, and what can be done to their nodes.
#[derive(Debug)]
pub struct Kind {
    fleet: Value,
    kubeconfig: PathBuf,
    loopback: PathBuf,
    /// Held while this process uses the clusters.
    _turn: std::fs::File,
}

impl Kind {
    /// Finds the clusters, and makes a kubeconfig in which their API servers are at the addresses of their nodes, where
    /// another cluster can reach them too.
    pub(crate) fn find(scratch: &Path) -> Result<Self> {
        let turn = take_turn()?;
        let file = std::env::var(FLEET)
            .with_context(|| format!("{FLEET} is not set: run these tests with  cargo xtask kind test"))?;
        let fleet = std::fs::read_to_string(&file).with_context(|| format!("{FLEET}: {file}"))?;
        let fleet: Value = serde_json::from_str(&fleet).with_context(|| format!("{FLEET}: {file}"))?;
        let loopback = PathBuf::from(fleet["kubeconfig"].as_str().context("the fleet has no kubeconfig")?);
        let mut view = Command::new(crate::cluster::kubectl_path());
        view.arg(format!("--kubeconfig={}", loopback.display()));
        let view = output(view.args(["config", "view", "--raw", "--flatten", "-o", "json"]))?;
        let mut config: Value = serde_json::from_str(&view)?;
        for cluster in config["clusters"].as_array_mut().into_iter().flatten() {
            let mut known = fleet["clusters"].as_array().into_iter().flatten();
            if let Some(known) = known.find(|known| known["name"] == cluster["name"]) {
                cluster["cluster"]["server"] = known["apiServer"].clone();
            }
        }
        let kubeconfig = scratch.join("kubeconfig");
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(Self { fleet, kubeconfig, loopback, _turn: turn })
    }

    /// The kubeconfig with the contexts `east` and `west`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same as kind wrote it: its servers are at this machine's loopback address.
    pub fn loopback_kubeconfig(&self) -> &Path {
        &self.loopback
    }

    /// The nodes of a cluster.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn nodes(&self, cluster: &str) -> Result<Vec<Node>> {
        let mut known = self.fleet["clusters"].as_array().into_iter().flatten();
        let known = known.find(|known| known["name"] == cluster);
        let known = known.with_context(|| format!("no cluster {cluster} is up"))?;
        let names = known["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str());
        let engine = self.fleet["dockerHost"].as_str();
        Ok(names.map(|name| Node { name: name.to_owned(), engine: engine.map(str::to_owned) }).collect())
    }

    /// The node that runs a cluster's API server.
    ///
    /// # Errors
    /// When there is none.
    pub fn control_plane(&self, cluster: &str) -> Result<Node> {
        // The control plane comes first.
        self.nodes(cluster)?.into_iter().next().with_context(|| format!("{cluster} has no node"))
    }

    fn cluster(&self, name: &str) -> Cluster {
        Cluster::new(name, &self.kubeconfig)
    }

    /// The first process, by its number on this machine, of a container of a pod: of any that runs where none is named.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process_of(
        &self,
        cluster: &str,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<u32> {
        let status = self.cluster(cluster).get(&["-n", namespace, "pod", pod])?["status"].take();
        let of = |kind: &str| status[kind].as_array().cloned().unwrap_or_default();
        let all = of("containerStatuses").into_iter().chain(of("initContainerStatuses"));
        let running = all.filter(|c| c["state"]["running"].is_object());
        let mut wanted = running.filter(|c| container.is_none_or(|name| c["name"] == name));
        let found =
            wanted.next().with_context(|| format!("{container:?} of {namespace}/{pod} does not run"))?;
        let id =
            found["containerID"].as_str().and_then(|id| id.rsplit('/').next()).context("no container id")?;
        host_process_of(id)
    }
}

impl Faults for Kind {
    fn partition(&self, a: &str, b: &str) -> Result<()> {
        for (here, there) in [(a, b), (b, a)] {
            let strangers = self.nodes(there)?.iter().map(Node::link_address).collect::<Result<Vec<_>>>()?;
            // By link addresses: whatever a packet says of itself, it came from a node of the other cluster.
            let rules = format!(
                "add table inet isthmus_partition\n\
                 add chain inet isthmus_partition from_{there} {{ type filter hook prerouting priority -450; }}\n\
                 add rule inet isthmus_partition from_{there} ether saddr {{ {} }} drop\n",
                strangers.join(", ")
            );
            for node in self.nodes(here)? {
                node.nft(&rules)?;
            }
        }
        Ok(())
    }

    fn heal(&self) -> Result<()> {
        for cluster in ["east", "west"] {
            for node in self.nodes(cluster)? {
                node.nft("add table inet isthmus_partition\ndelete table inet isthmus_partition\n")?;
            }
        }
        Ok(())
    }

    fn stop_api(&self, cluster: &str) -> Result<()> {
        let node = self.control_plane(cluster)?;
        // People on this machine come from the gateway, the node's own from its loopback: both stay, as in the sandbox.
        node.nft(&format!(
            "add table inet isthmus_api\n\
             add chain inet isthmus_api input {{ type filter hook input priority -10; }}\n\
             add rule inet isthmus_api input iifname != \"lo\" ip saddr != {} tcp dport {API} reject with tcp reset\n",
            node.gateway()?
        ))?;
        node.close_connections(API)
    }

    fn start_api(&self, cluster: &str) -> Result<()> {
        self.control_plane(cluster)?.nft("add table inet isthmus_api\ndelete table inet isthmus_api\n")
    }

    fn kill(&self, cluster: &str, namespace: &str, pod: &str, container: &str) -> Result<()> {
        let process = self.process_of(cluster, namespace, pod, Some(container))?;
        output(Command::new("kill").args(["-KILL", &process.to_string()]))?;
        let gone = || !Path::new(&format!("/proc/{process}/root")).exists();
        eventually("the killed process is gone", || if gone() { Ok(()) } else { Err(process) });
        Ok(())
    }

    fn change_address(&self, cluster: &str, namespace: &str, service: &str) -> Result<String> {
        let mut taken = Vec::new();
        for name in ["east", "west"] {
            let all = self.cluster(name).get(&["services", "--all-namespaces"])?;
            let all = all["items"].as_array().into_iter().flatten();
            taken.extend(all.filter_map(|s| address_of(s).map(str::to_owned)));
        }
        let cluster = self.cluster(cluster);
        let object = cluster.get(&["-n", namespace, "service", service])?;
        let before = address_of(&object).with_context(|| format!("{namespace}/{service} has no address"))?;
        let network = before.rsplit_once('.').context("an IPv4 address")?.0;
        let mut others = (1..255).rev().map(|number| format!("{network}.{number}"));
        let after = others.find(|address| !taken.contains(address)).context("no address is free")?;
        // The keeper of the test bed lets a Service have the address that its status says, and moves it to a node.
        let patch =
            json!({ "status": { "loadBalancer": { "ingress": [{ "ip": after, "ipMode": "VIP" }] } } });
        let patch = patch.to_string();
        let write = [
            "-n",
            namespace,
            "patch",
            "service",
            service,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        cluster.kubectl(&write)?;
        let port = object["spec"]["ports"][0]["port"].as_u64().and_then(|p| u16::try_from(p).ok());
        let at: SocketAddr = format!("{after}:{}", port.context("a Service has a port")?).parse()?;
        let second = Duration::from_secs(1);
        eventually("the new address answers", || TcpStream::connect_timeout(&at, second).map(drop));
        Ok(after)
    }

    fn capture(&self, cluster: &str, namespace: &str, pod: &str, file: &Path) -> Result<Box<dyn Capture>> {
        let process = self.process_of(cluster, namespace, pod, None)?;
        let mut tcpdump = Command::new("nsenter")
            .args(["-t", &process.to_string(), "-n", "tcpdump", "-n", "-U", "-i", "eth0", "-Z", "root", "-w"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run nsenter and tcpdump")?;
        let mut said = BufReader::new(tcpdump.stderr.take().context("no standard error")?);
        let mut heard = String::new();
        while !heard.contains("listening on") {
            ensure!(said.read_line(&mut heard)? > 0, "tcpdump: {heard}");
        }
        Ok(Box::new(Tcpdump { tcpdump, said }))
    }
}

/// The address of a load balancer Service.
fn address_of(service: &Value) -> Option<&str> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()
}

/// A tcpdump under way, and what it says on standard error.
struct Tcpdump {
    tcpdump: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Capture for Tcpdump {
    fn end(mut self: Box<Self>) -> Result<u64> {
        output(Command::new("kill").args(["-INT", &self.tcpdump.id().to_string()]))?;
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        self.tcpdump.wait()?;
        let line = said.lines().find(|l| l.contains("captured")).with_context(|| said.clone())?;
        Ok(line.split_whitespace().next().context("no number")?.parse()?)
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Takes a cluster back to what it was when it was made: no fault, no mesh, no namespace of a scenario.
pub(crate) fn clean(kind: &Kind, cluster: &Cluster) -> Result<()> {
    kind.start_api(&cluster.name)?;
    kind.control_plane(&cluster.name)?.start_api_server()?;
    eventually("the API server answers", || cluster.kubectl(&["get", "--raw", "/readyz"]));
    for node in kind.nodes(&cluster.name)? {
        cluster.kubectl(&["uncordon", &node.name])?;
    }
    // Workloads end before the mesh under them does.
    let left = namespaces(cluster)?;
    let (mesh, mut scenarios): (Vec<_>, Vec<_>) = left.into_iter().partition(|n| n.starts_with("linkerd"));
    if !scenarios.is_empty() {
        scenarios.splice(0..0, ["delete", "namespace", "--timeout=180s"].map(str::to_owned));
        cluster.kubectl(&scenarios.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    if !mesh.is_empty() || installed(cluster)? {
        crate::fleet::uninstall(cluster)?;
    }
    let left = namespaces(cluster)?;
    ensure!(left.is_empty(), "{}: namespaces are left: {left:?}", cluster.name);
    Ok(())
}

fn namespaces(cluster: &Cluster) -> Result<Vec<String>> {
    let all = cluster.get(&["namespaces"])?;
    let names = all["items"].as_array().into_iter().flatten().filter_map(|n| n["metadata"]["name"].as_str());
    Ok(names.filter(|name| !KEPT.contains(name)).map(str::to_owned).collect())
}

fn installed(cluster: &Cluster) -> Result<bool> {
    let crds = cluster.kubectl(&["get", "customresourcedefinitions", "-o", "name"])?;
    Ok(crds.contains(".linkerd.io"))
}

/// Two test processes must not use the clusters at once.
fn take_turn() -> Result<std::fs::File> {
    let path = std::env::temp_dir().join("isthmus-kind-scenarios.lock");
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    file.lock()?;
    Ok(file)
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{shown}: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(stdout)
}
