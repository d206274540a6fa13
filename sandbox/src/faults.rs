//! Faults between clusters: partitions by packet rules in the WAN namespace, slow and narrow links by the relay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::Ipv4Net;
use serde::Serialize;
use std::time::Duration;

use crate::relay::{Shape, Shapes};

/// A cluster as the WAN sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// Cluster name.
    pub(crate) name: String,
    /// Its interface in the WAN namespace.
    pub(crate) interface: String,
    /// Networks its packets come from and go to, as seen on the WAN.
    pub(crate) networks: Vec<Ipv4Net>,
}

/// The faults in force.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Faults {
    partitions: BTreeSet<(String, String)>,
    shapes: BTreeMap<(String, String), Shape>,
}

/// One fault, for people.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Described {
    /// Between or from which cluster.
    pub(crate) from: String,
    /// To which cluster.
    pub(crate) to: String,
    /// What is wrong with the way.
    pub(crate) fault: String,
}

impl Faults {
    /// Cuts two clusters off each other.
    pub(crate) fn partition(&mut self, a: &str, b: &str) {
        let (a, b) = if a < b { (a, b) } else { (b, a) };
        self.partitions.insert((a.to_owned(), b.to_owned()));
    }

    /// Sets the latency of one direction.
    pub(crate) fn latency(&mut self, from: &str, to: &str, latency: Duration) {
        self.shape(from, to, |shape| shape.latency = latency);
    }

    /// Sets the bit rate of one direction.
    pub(crate) fn bandwidth(&mut self, from: &str, to: &str, rate: Option<u64>) {
        self.shape(from, to, |shape| shape.rate = rate);
    }

    fn shape(&mut self, from: &str, to: &str, change: impl FnOnce(&mut Shape)) {
        let key = (from.to_owned(), to.to_owned());
        let mut shape = self.shapes.remove(&key).unwrap_or_default();
        change(&mut shape);
        if shape != Shape::default() {
            self.shapes.insert(key, shape);
        }
    }

    /// Is any link shaped?
    pub(crate) fn has_shapes(&self) -> bool {
        !self.shapes.is_empty()
    }

    /// The shapes by network, for the relay.
    pub(crate) fn shapes(&self, sites: &[Site]) -> Shapes {
        let mut shapes = Shapes::new();
        for ((from, to), shape) in &self.shapes {
            for a in networks(sites, from) {
                shapes.extend(networks(sites, to).map(|b| ((a, b), *shape)));
            }
        }
        shapes
    }

    /// The packet rules for the partitions, as one atomic `nft -f` script.
    pub(crate) fn render(&self, sites: &[Site]) -> String {
        let mut out = String::from(
            "table ip isthmus_faults\ndelete table ip isthmus_faults\ntable ip isthmus_faults {\n\
             \tchain prerouting {\n\t\ttype filter hook prerouting priority raw; policy accept;\n",
        );
        let site = |name: &str| sites.iter().find(|site| site.name == name);
        for (a, b) in &self.partitions {
            let (Some(a), Some(b)) = (site(a), site(b)) else { continue };
            for (from, to) in [(a, b), (b, a)] {
                for network in &to.networks {
                    let _ = writeln!(out, "\t\tiifname \"{}\" ip daddr {network} drop", from.interface);
                }
            }
        }
        out.push_str("\t}\n}\n");
        out
    }

    /// What is in force, for people.
    pub(crate) fn describe(&self) -> Vec<Described> {
        let told = |from: &str, to: &str, fault: String| Described {
            from: from.to_owned(),
            to: to.to_owned(),
            fault,
        };
        let partitions = self.partitions.iter().map(|(a, b)| told(a, b, "partitioned".to_owned()));
        let shapes = self.shapes.iter().map(|((from, to), shape)| {
            let mut fault = Vec::new();
            if !shape.latency.is_zero() {
                fault.push(format!("+{} ms", shape.latency.as_secs_f64() * 1000.0));
            }
            if let Some(rate) = shape.rate {
                fault.push(format!("{} Mbit/s", rate as f64 / 1e6));
            }
            told(from, to, fault.join(", "))
        });
        partitions.chain(shapes).collect()
    }
}

fn networks<'a>(sites: &'a [Site], name: &'a str) -> impl Iterator<Item = Ipv4Net> + 'a {
    sites.iter().filter(move |site| site.name == name).flat_map(|site| site.networks.iter().copied())
}

/// Packet rules that make a cluster's API server unreachable, or reachable again. Connections are reset, new ones
/// refused; the controllers and the node, in the same process, are not concerned.
pub(crate) fn api_rules(stopped: bool, listeners: &[std::net::SocketAddrV4]) -> String {
    let mut out = String::from("table ip isthmus_api\ndelete table ip isthmus_api\n");
    if stopped {
        out.push_str(
            "table ip isthmus_api {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n",
        );
        for address in listeners {
            let (ip, port) = (address.ip(), address.port());
            let _ = writeln!(out, "\t\tip daddr {ip} tcp dport {port} reject with tcp reset");
        }
        out.push_str("\t}\n}\n");
    }
    out
}

#[cfg(test)]
mod tests;
