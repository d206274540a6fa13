//! A process that stays while clusters are up and does for them what a cloud would: it gives Services of type LoadBalancer
//! an address that a node answers for, and keeps the routes between nodes. It looks at how things are and mends what is
//! not as it should be, on every change and on a timer, so that a node that was restarted is whole again.

use super::balancer::{self, Name, Pool, Service};
use super::engine::{self, Engine};
use super::fleet::{self, Fleet, NETWORK, Node};
use super::places::{self, state};
use super::step::{output, wait_until};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// The name of this program's process.
const PROGRAM: &str = "mesh-xtask";

/// How long nothing may change before all is looked at again.
const INTERVAL: Duration = Duration::from_secs(5);

/// Changes come in bursts; this long they are gathered.
const BURST: Duration = Duration::from_millis(100);

/// Starts the process, which outlives this one.
pub(crate) fn start() -> Result<()> {
    let log = std::fs::File::create(state("keeper.log"))?;
    // It leads a session of its own: it outlives the terminal too, and what it starts ends with it.
    let child = Command::new("setsid")
        .arg(this_program()?)
        .args(["kind", "keep"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the keeper")?;
    std::fs::write(pid_file(), child.id().to_string()).context("cannot write the keeper's process id")
}

/// The path of this program. Where cargo has built it anew since, the kernel tells the path of what is gone, with a note;
/// the new one will do.
fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?;
    let gone = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(gone.map_or_else(|| path.clone(), PathBuf::from))
}

/// Ends the process and those it started.
pub(crate) fn stop() -> Result<()> {
    let Some(pid) = engine::pid_of(&pid_file(), PROGRAM) else { return Ok(()) };
    output(Command::new("kill").args(["-TERM", "--", &format!("-{pid}")]))?;
    wait_until("the end of the keeper", Duration::from_secs(10), || !engine::is_process(pid, PROGRAM))?;
    places::remove(&pid_file())
}

/// Whether the process runs.
pub(crate) fn runs() -> bool {
    engine::pid_of(&pid_file(), PROGRAM).is_some()
}

/// What the process has written.
pub(crate) fn said() -> String {
    std::fs::read_to_string(state("keeper.log")).unwrap_or_else(|error| error.to_string())
}

fn pid_file() -> PathBuf {
    state("keeper.pid")
}

/// Is the process: until the clusters are gone.
pub(crate) fn run() -> Result<()> {
    let (engine, fleet) = super::clusters::running()?;
    let (changed, changes) = channel();
    for cluster in &fleet.clusters {
        let mut watch = fleet::kubectl(cluster)?;
        watch.args(["get", "services", "--all-namespaces", "--watch", "--output", "name"]);
        watch_lines(watch, changed.clone());
    }
    let mut events = engine.docker();
    events.args(["events", "--format", "{{.Status}}"]);
    for event in ["start", "die", "pause", "unpause"] {
        events.arg("--filter").arg(format!("event={event}"));
    }
    watch_lines(events, changed);
    let mut keeper = Keeper::new(engine, fleet)?;
    while Path::new(places::FLEET).exists() {
        if let Err(error) = keeper.look() {
            eprintln!("{error:#}");
        }
        wait_for_change(&changes);
    }
    Ok(())
}

/// Runs a command for ever, and says so for each line it prints, and when it begins anew: something may have been missed.
fn watch_lines(mut command: Command, changed: Sender<()>) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    std::thread::spawn(move || {
        loop {
            if let Ok(mut child) = command.spawn() {
                let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
                for line in lines.into_iter().flatten() {
                    if line.is_err() || changed.send(()).is_err() {
                        break;
                    }
                }
                let _ = child.kill();
                let _ = child.wait();
            }
            std::thread::sleep(Duration::from_secs(1));
            if changed.send(()).is_err() {
                return;
            }
        }
    });
}

fn wait_for_change(changes: &Receiver<()>) {
    match changes.recv_timeout(INTERVAL) {
        Ok(()) => {
            std::thread::sleep(BURST);
            while changes.try_recv().is_ok() {}
        }
        Err(RecvTimeoutError::Timeout) => {}
        // Every watcher is gone, which they never are; look at the timer's pace all the same.
        Err(RecvTimeoutError::Disconnected) => std::thread::sleep(INTERVAL),
    }
}

/// The subnet of each node's pods.
pub(crate) fn pod_subnets(cluster: &str) -> Result<Vec<(String, String)>> {
    let listed = get(cluster, &["nodes"])?;
    let nodes = listed["items"].as_array().into_iter().flatten();
    let subnets = nodes.filter_map(|n| {
        Some((n["metadata"]["name"].as_str()?.to_owned(), n["spec"]["podCIDR"].as_str()?.to_owned()))
    });
    Ok(subnets.collect())
}

fn get(cluster: &str, what: &[&str]) -> Result<Value> {
    let mut get = fleet::kubectl(cluster)?;
    get.args(["get", "--request-timeout=10s", "--output", "json"]).args(what);
    serde_json::from_str(&output(&mut get)?).with_context(|| format!("{what:?} of {cluster}"))
}

struct Keeper {
    engine: Engine,
    fleet: Fleet,
    pool: Pool,
    /// The last Services each cluster told of; kept while its API server does not answer.
    services: BTreeMap<String, Vec<Service>>,
    /// The subnets of pods, by node.
    subnets: BTreeMap<String, String>,
}

impl Keeper {
    fn new(engine: Engine, fleet: Fleet) -> Result<Self> {
        let listed = output(engine.docker().args(["network", "inspect", NETWORK]))?;
        let listed: Value = serde_json::from_str(&listed)?;
        let subnets = listed[0]["IPAM"]["Config"].as_array().into_iter().flatten();
        let subnet = subnets.filter_map(|c| c["Subnet"].as_str()).find(|s| s.contains('.'));
        let pool = Pool::of(subnet.context("the network of the nodes has no IPv4 subnet")?)?;
        Ok(Self { engine, fleet, pool, services: BTreeMap::new(), subnets: BTreeMap::new() })
    }

    /// Looks at everything once and mends it.
    fn look(&mut self) -> Result<()> {
        let mut nodes = BTreeMap::new();
        for cluster in &self.fleet.clusters {
            nodes.insert(cluster.clone(), fleet::nodes(&self.engine, cluster)?);
            match get(cluster, &["services", "--all-namespaces"]) {
                Ok(list) => drop(self.services.insert(cluster.clone(), balancer::read(cluster, &list))),
                Err(error) => eprintln!("{cluster} does not tell its services: {error:#}"),
            }
        }
        self.mend_routes(&nodes)?;
        let services: Vec<Service> = self.services.values().flatten().cloned().collect();
        let given = balancer::assign(&services, self.pool);
        self.mend_addresses(&nodes, &services, &given)?;
        for change in balancer::status_changes(&services, &given, self.pool) {
            let Name { cluster, namespace, service } = &change.name;
            let address = change.address.map_or_else(|| "none".to_owned(), |a| a.to_string());
            eprintln!("{cluster}: the address of {namespace}/{service} is {address}");
            if let Err(error) = write_status(&change.name, change.address) {
                eprintln!("{error:#}");
            }
        }
        Ok(())
    }

    /// Sees to it that one node answers for each address, and none for an address nobody has.
    fn mend_addresses(
        &self,
        nodes: &BTreeMap<String, Vec<Node>>,
        services: &[Service],
        given: &BTreeMap<Name, Ipv4Addr>,
    ) -> Result<()> {
        for (cluster, nodes) in nodes {
            let mut held: BTreeMap<&str, BTreeSet<Ipv4Addr>> = BTreeMap::new();
            for node in nodes.iter().filter(|n| n.pid != 0) {
                held.insert(&node.name, addresses(node, self.pool)?);
            }
            // Workers come first: where there are any, a control plane has no ordinary pods.
            let mut able: Vec<&Node> = nodes.iter().filter(|n| n.runs).collect();
            able.sort_by_key(|n| n.role == "control-plane");
            let able: Vec<&str> = able.iter().map(|n| n.name.as_str()).collect();
            let mut chosen: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
            for service in services.iter().filter(|s| s.name.cluster == *cluster) {
                let Some(address) = given.get(&service.name) else { continue };
                let holder = held.iter().find(|(_, has)| has.contains(address)).map(|(node, _)| *node);
                let with_endpoint =
                    if service.local { Some(nodes_with_endpoint(&service.name)?) } else { None };
                // Where none may answer, whoever does is left: a paused node answers nobody, as a hung one would.
                if let Some(node) = balancer::choose(&able, holder, with_endpoint.as_ref()).or(holder) {
                    chosen.insert(*address, node);
                }
            }
            for node in nodes.iter().filter(|n| n.pid != 0) {
                let has = held.remove(node.name.as_str()).unwrap_or_default();
                let should: BTreeSet<Ipv4Addr> =
                    chosen.iter().filter(|(_, n)| **n == node.name).map(|(address, _)| *address).collect();
                for gone in has.difference(&should) {
                    ip(node, &["address", "delete", &format!("{gone}/32"), "dev", "eth0"])?;
                }
                for new in should.difference(&has) {
                    ip(node, &["address", "replace", &format!("{new}/32"), "dev", "eth0"])?;
                    announce(node, *new);
                }
            }
        }
        Ok(())
    }

    /// Sees to it that every node has routes to the pods of the other nodes it should reach, and no others.
    fn mend_routes(&mut self, nodes: &BTreeMap<String, Vec<Node>>) -> Result<()> {
        for (cluster, nodes) in nodes {
            if nodes.iter().any(|n| !self.subnets.contains_key(&n.name)) {
                match pod_subnets(cluster) {
                    Ok(subnets) => self.subnets.extend(subnets),
                    Err(error) => eprintln!("{cluster} does not tell its nodes: {error:#}"),
                }
            }
        }
        let everywhere: Vec<(&String, &Node)> =
            nodes.iter().flat_map(|(c, nodes)| nodes.iter().map(move |n| (c, n))).collect();
        for (cluster, node) in everywhere.iter().filter(|(_, n)| n.pid != 0) {
            let others =
                everywhere.iter().filter(|(c, n)| n.name != node.name && (c == cluster || self.fleet.flat));
            let should: BTreeSet<(String, String)> = others
                .filter_map(|(_, n)| Some((self.subnets.get(&n.name)?.clone(), n.address.clone())))
                .filter(|(_, gateway)| !gateway.is_empty())
                .collect();
            let has = routes(node)?;
            for (subnet, gateway) in has.difference(&should) {
                // One for the same subnet by another way is replaced below.
                if !should.iter().any(|(s, _)| s == subnet) {
                    ip(node, &["route", "delete", subnet, "via", gateway])?;
                }
            }
            for (subnet, gateway) in should.difference(&has) {
                ip(node, &["route", "replace", subnet, "via", gateway])?;
            }
        }
        Ok(())
    }
}

/// The nodes with a ready endpoint of a Service.
fn nodes_with_endpoint(name: &Name) -> Result<BTreeSet<String>> {
    let selector = format!("kubernetes.io/service-name={}", name.service);
    let listed =
        get(&name.cluster, &["endpointslices", "--namespace", &name.namespace, "--selector", &selector])?;
    let slices = listed["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|e| e["conditions"]["ready"].as_bool().unwrap_or(true));
    Ok(ready.filter_map(|e| e["nodeName"].as_str().map(str::to_owned)).collect())
}

/// Writes the address a Service has, or that it has none.
fn write_status(name: &Name, address: Option<Ipv4Addr>) -> Result<()> {
    let ingress = address.map(|a| json!([{"ip": a.to_string(), "ipMode": "VIP"}]));
    let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
    let mut write = fleet::kubectl(&name.cluster)?;
    write.args(["--namespace", &name.namespace, "patch", "service", &name.service, "--request-timeout=10s"]);
    write.args(["--subresource=status", "--type=merge", "--patch", &patch]);
    output(&mut write).map(drop)
}

/// The addresses of the pool that a node answers for.
fn addresses(node: &Node, pool: Pool) -> Result<BTreeSet<Ipv4Addr>> {
    let listed = ip(node, &["-json", "-4", "address", "show", "dev", "eth0"])?;
    let listed: Value = serde_json::from_str(&listed).context("ip address")?;
    let links = listed.as_array().into_iter().flatten();
    let infos = links.flat_map(|l| l["addr_info"].as_array().into_iter().flatten());
    let all = infos.filter_map(|i| i["local"].as_str().and_then(|a| a.parse().ok()));
    Ok(all.filter(|a| pool.has(*a)).collect())
}

/// The routes of a node by way of other nodes, as subnet and gateway.
fn routes(node: &Node) -> Result<BTreeSet<(String, String)>> {
    let listed = ip(node, &["-json", "-4", "route", "show", "dev", "eth0"])?;
    let listed: Value = serde_json::from_str(&listed).context("ip route")?;
    let all = listed.as_array().into_iter().flatten();
    let via = all.filter_map(|r| Some((r["dst"].as_str()?.to_owned(), r["gateway"].as_str()?.to_owned())));
    Ok(via.filter(|(subnet, _)| subnet != "default").collect())
}

/// Runs `ip` in the network of a node, which may be paused.
fn ip(node: &Node, args: &[&str]) -> Result<String> {
    if node.pid == 0 {
        bail!("{} does not run", node.name);
    }
    output(Command::new("nsenter").args(["--target", &node.pid.to_string(), "--net", "ip"]).args(args))
        .with_context(|| format!("in {}", node.name))
}

/// Tells the neighbours who answers for an address now. Where the node lacks the tool they find out later.
fn announce(node: &Node, address: Ipv4Addr) {
    let mut arping = Command::new("nsenter");
    arping.args([
        "--target",
        &node.pid.to_string(),
        "--net",
        "--mount",
        "arping",
        "-q",
        "-U",
        "-c",
        "1",
        "-I",
        "eth0",
    ]);
    let _ = output(arping.arg(address.to_string()));
}
