//! Services as packets see them: one nft table in the cluster's network namespace that rewrites cluster IPs, node
//! ports and load-balancer addresses to ready endpoints.
//!
//! [`render`] is pure and golden-tested; [`program`] applies its text atomically with `nft -f -` whenever Services or
//! EndpointSlices change.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::controllers::Exposed;
use crate::controllers::endpoints::SERVICE_NAME;
use crate::controllers::object::{self, Key};
use crate::error::Error;
use crate::preflight;

/// The table is written at most this often, so that a burst of changes costs a few writes.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// The addresses of one cluster that the rules speak of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// The node's address on the WAN.
    pub(crate) node: Ipv4Addr,
    /// Where cluster IPs come from.
    pub(crate) services: Ipv4Net,
    /// Where node and load-balancer addresses come from.
    pub(crate) external: Ipv4Net,
}

/// One address, protocol and port that stands for a Service port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frontend {
    chain: String,
    protocol: &'static str,
    /// Cluster IP and load-balancer addresses, with the service port.
    addresses: Vec<Ipv4Addr>,
    port: u16,
    node_port: Option<u16>,
    by_client: bool,
    endpoints: Vec<SocketAddrV4>,
}

/// The ruleset for these Services and EndpointSlices, as one atomic `nft -f` script.
pub(crate) fn render<'a>(
    addresses: &Addresses,
    services: impl Iterator<Item = &'a Value>,
    slices: impl Iterator<Item = &'a Value>,
) -> String {
    let mut by_service: HashMap<Key, Vec<&Value>> = HashMap::new();
    for slice in slices {
        if let Some(service) =
            object::map(slice, "/metadata/labels").and_then(|labels| labels.get(SERVICE_NAME))
        {
            let key = Key::new(object::namespace(slice), service.as_str().unwrap_or_default());
            by_service.entry(key).or_default().push(slice);
        }
    }
    let mut frontends: Vec<Frontend> = services
        .flat_map(|service| {
            let slices = by_service.get(&Key::of(service)).map_or(&[][..], Vec::as_slice);
            object::items(service, "/spec/ports").iter().filter_map(|port| frontend(service, port, slices))
        })
        .collect();
    frontends.retain(|frontend| !frontend.endpoints.is_empty());
    frontends.sort_by(|a, b| a.chain.cmp(&b.chain));
    script(addresses, &frontends)
}

fn frontend(service: &Value, port: &Value, slices: &[&Value]) -> Option<Frontend> {
    let cluster_ip: Option<Ipv4Addr> = object::text(service, "/spec/clusterIP").parse().ok();
    let mut addresses: Vec<Ipv4Addr> = cluster_ip.into_iter().collect();
    if object::text(service, "/spec/type") == "LoadBalancer" {
        let ingress = object::items(service, "/status/loadBalancer/ingress").iter();
        addresses.extend(ingress.filter_map(|entry| object::text(entry, "/ip").parse::<Ipv4Addr>().ok()));
    }
    let external = object::items(service, "/spec/externalIPs").iter();
    addresses.extend(external.filter_map(|address| address.as_str()?.parse::<Ipv4Addr>().ok()));
    let protocol = match object::text(port, "/protocol") {
        "" | "TCP" => "tcp",
        "UDP" => "udp",
        _ => return None,
    };
    if addresses.is_empty() {
        return None;
    }
    let number = port_number(port, "/port")?;
    Some(Frontend {
        chain: format!("svc/{}/{}/{protocol}/{number}", object::namespace(service), object::name(service)),
        protocol,
        addresses,
        port: number,
        node_port: port_number(port, "/nodePort"),
        by_client: object::text(service, "/spec/sessionAffinity") == "ClientIP",
        endpoints: endpoints(object::text(port, "/name"), protocol, slices),
    })
}

fn port_number(value: &Value, pointer: &str) -> Option<u16> {
    object::int(value, pointer).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// Ready endpoints of a named port; when there is none, those that still serve while terminating.
fn endpoints(port_name: &str, protocol: &str, slices: &[&Value]) -> Vec<SocketAddrV4> {
    let (mut ready, mut draining) = (Vec::new(), Vec::new());
    for slice in slices {
        let port = object::items(slice, "/ports").iter().find(|port| {
            let named = object::text(port, "/protocol").to_ascii_lowercase();
            object::text(port, "/name") == port_name
                && (named == protocol || (named.is_empty() && protocol == "tcp"))
        });
        let Some(port) = port.and_then(|port| port_number(port, "/port")) else { continue };
        for endpoint in object::items(slice, "/endpoints") {
            let Ok(ip) = object::text(endpoint, "/addresses/0").parse::<Ipv4Addr>() else { continue };
            let condition =
                |name: &str| endpoint.pointer(&format!("/conditions/{name}")).and_then(Value::as_bool);
            if condition("ready") != Some(false) {
                ready.push(SocketAddrV4::new(ip, port));
            } else if condition("serving") == Some(true) && condition("terminating") == Some(true) {
                draining.push(SocketAddrV4::new(ip, port));
            }
        }
    }
    let mut chosen = if ready.is_empty() { draining } else { ready };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn script(addresses: &Addresses, frontends: &[Frontend]) -> String {
    let Addresses { node, services, external } = addresses;
    let mut virtual_ports = BTreeMap::new();
    let mut node_ports = BTreeMap::new();
    let mut hairpins = std::collections::BTreeSet::new();
    for frontend in frontends {
        for address in &frontend.addresses {
            virtual_ports.entry((*address, frontend.protocol, frontend.port)).or_insert(&frontend.chain);
        }
        if let Some(port) = frontend.node_port {
            node_ports.entry((frontend.protocol, port)).or_insert(&frontend.chain);
        }
        hairpins.extend(frontend.endpoints.iter().map(|endpoint| *endpoint.ip()));
    }
    let mut out = String::from(
        "table ip isthmus_services\ndelete table ip isthmus_services\ntable ip isthmus_services {\n",
    );
    for frontend in frontends {
        let _ = writeln!(out, "\tchain {} {{\n\t\t{}\n\t}}", frontend.chain, rewrite(frontend));
    }
    out.push_str("\tchain services {\n");
    if !virtual_ports.is_empty() {
        out.push_str("\t\tip daddr . meta l4proto . th dport vmap {\n");
        for ((address, protocol, port), chain) in &virtual_ports {
            let _ = writeln!(out, "\t\t\t{address} . {protocol} . {port} : goto {chain},");
        }
        out.push_str("\t\t}\n");
    }
    if !node_ports.is_empty() {
        let _ = writeln!(out, "\t\tip daddr {node} meta l4proto . th dport vmap {{");
        for ((protocol, port), chain) in &node_ports {
            let _ = writeln!(out, "\t\t\t{protocol} . {port} : goto {chain},");
        }
        out.push_str("\t\t}\n");
    }
    out.push_str("\t}\n");
    out.push_str("\tchain prerouting {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\tjump services\n\t}\n");
    out.push_str(
        "\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tjump services\n\t}\n",
    );
    if !hairpins.is_empty() {
        // A pod that reaches itself through a Service must see another source, or it answers around the rewrite.
        out.push_str("\tset hairpins {\n\t\ttype ipv4_addr . ipv4_addr\n\t\telements = {\n");
        for address in &hairpins {
            let _ = writeln!(out, "\t\t\t{address} . {address},");
        }
        out.push_str("\t\t}\n\t}\n");
        out.push_str(
            "\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n",
        );
        let _ = writeln!(out, "\t\tct status dnat ip saddr . ip daddr @hairpins snat to {node}\n\t}}");
    }
    // What is still addressed to a virtual address here has no endpoint.
    let _ = writeln!(
        out,
        "\tchain unserved {{\n\t\tfib daddr type local return\n\
         \t\tip daddr {{ {services}, {external} }} meta l4proto tcp reject with tcp reset\n\
         \t\tip daddr {{ {services}, {external} }} reject with icmp port-unreachable\n\t}}"
    );
    for hook in ["forward", "output"] {
        let _ = writeln!(
            out,
            "\tchain filter-{hook} {{\n\t\ttype filter hook {hook} priority filter; policy accept;\n\
             \t\tct state new jump unserved\n\t}}"
        );
    }
    out.push_str("}\n");
    out
}

fn rewrite(frontend: &Frontend) -> String {
    if let [only] = frontend.endpoints[..] {
        return format!("meta l4proto {} dnat to {only}", frontend.protocol);
    }
    let choice = if frontend.by_client { "jhash ip saddr" } else { "numgen random" };
    let mut out = format!(
        "meta l4proto {} dnat ip to {choice} mod {} map {{ ",
        frontend.protocol,
        frontend.endpoints.len()
    );
    for (index, endpoint) in frontend.endpoints.iter().enumerate() {
        let _ = write!(out, "{index} : {} . {}, ", endpoint.ip(), endpoint.port());
    }
    out.push('}');
    out
}

/// Keeps the kernel's table equal to what is exposed, until the token is cancelled or the controllers end. Must run in
/// a runtime whose threads are in the cluster's network namespace.
pub(crate) async fn program(
    addresses: Addresses,
    mut exposed: watch::Receiver<Arc<Exposed>>,
    token: CancellationToken,
) {
    let mut applied = String::new();
    let mut last = Instant::now();
    loop {
        let latest = exposed.borrow_and_update().clone();
        let script = render(
            &addresses,
            latest.services.iter().map(|service| &**service),
            latest.slices.iter().map(|slice| &**slice),
        );
        if script != applied {
            let text = script.clone();
            match tokio::task::spawn_blocking(move || run_nft(&text)).await {
                Ok(Ok(())) => applied = script,
                Ok(Err(error)) => tracing::error!(%error, "service rules not applied"),
                Err(_) => return,
            }
            last = Instant::now();
        }
        match token.run_until_cancelled(exposed.changed()).await {
            Some(Ok(())) => tokio::time::sleep_until(last + DEBOUNCE).await,
            _ => return,
        }
    }
}

/// Feeds a script to `nft -f -` in the network namespace of the calling thread.
///
/// # Errors
/// When `nft` cannot be run or refuses the script.
pub(crate) fn run_nft(script: &str) -> Result<(), Error> {
    let failed = |reason: String| Error::Nft { reason, script: script.to_owned() };
    let nft = preflight::program("nft")
        .ok_or_else(|| failed("not installed (apt-get install nftables)".to_owned()))?;
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests;
