//! The ruleset: which connections of a pod go through its proxy. Pure text generation.

use ipnet::IpNet;
use mesh_types::PortSet;
use std::fmt::Write;

/// The nftables table that holds every rule of ours, in the families `ip` and `ip6`. Nothing else is touched.
pub const TABLE: &str = "isthmus";

/// Numeric form of nft's `dstnat` priority; the name is not accepted in the output hook.
const PRIORITY: i32 = -100;

/// What to redirect and what to leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The proxy's inbound port; redirected inbound connections arrive there.
    pub incoming_proxy_port: u16,
    /// The proxy's outbound port. `None` leaves outbound traffic alone.
    pub outgoing_proxy_port: Option<u16>,
    /// User whose traffic is the proxy's own, and so is never redirected.
    pub proxy_uid: u32,
    /// Group whose traffic is the proxy's own.
    pub proxy_gid: Option<u32>,
    /// Inbound ports to redirect; empty means all.
    pub ports_to_redirect: PortSet,
    /// Inbound ports that reach the application directly.
    pub inbound_ports_to_ignore: PortSet,
    /// Destination ports that outbound connections reach directly.
    pub outbound_ports_to_ignore: PortSet,
    /// Source subnets whose inbound connections reach the application directly.
    pub subnets_to_ignore: Vec<IpNet>,
    /// Also write rules for IPv6.
    pub ipv6: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        use mesh_types::{PROXY_UID, ports};
        Self {
            incoming_proxy_port: ports::INBOUND,
            outgoing_proxy_port: Some(ports::OUTBOUND),
            proxy_uid: PROXY_UID,
            proxy_gid: None,
            ports_to_redirect: PortSet::default(),
            inbound_ports_to_ignore: PortSet::default(),
            outbound_ports_to_ignore: PortSet::default(),
            subnets_to_ignore: Vec::new(),
            ipv6: true,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ip,
    Ip6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }

    fn has(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::Ip, IpNet::V4(_)) | (Self::Ip6, IpNet::V6(_)))
    }
}

impl Redirect {
    /// The ruleset as `nft -f` reads it. Applying it twice leaves the same rules as once: the table is declared
    /// (so that it exists), deleted and written anew, all in one kernel transaction.
    pub fn ruleset(&self) -> String {
        let mut out = self.table(Family::Ip);
        if self.ipv6 {
            out.push_str(&self.table(Family::Ip6));
        }
        out
    }

    fn table(&self, family: Family) -> String {
        let name = format!("{} {TABLE}", family.name());
        let mut out = format!("table {name}\ndelete table {name}\ntable {name} {{\n");
        out.push_str(&chain("inbound", "prerouting", &self.inbound(family)));
        if let Some(port) = self.outgoing_proxy_port {
            out.push_str(&chain("outbound", "output", &self.outbound(port)));
        }
        out.push_str("}\n");
        out
    }

    fn inbound(&self, family: Family) -> Vec<String> {
        let mut rules = vec!["iifname \"lo\" return".to_owned()];
        if !self.inbound_ports_to_ignore.is_empty() {
            rules.push(format!("tcp dport {} return", port_list(&self.inbound_ports_to_ignore)));
        }
        let subnets: Vec<IpNet> = self.subnets_to_ignore.iter().copied().filter(|n| family.has(n)).collect();
        if !subnets.is_empty() {
            // nft refuses sets with overlapping intervals.
            let list: Vec<String> = IpNet::aggregate(&subnets).iter().map(ToString::to_string).collect();
            rules.push(format!("{} saddr {{ {} }} return", family.name(), list.join(", ")));
        }
        let matched = match self.ports_to_redirect.is_empty() {
            true => "meta l4proto tcp".to_owned(),
            false => format!("tcp dport {}", port_list(&self.ports_to_redirect)),
        };
        rules.push(format!("{matched} redirect to :{}", self.incoming_proxy_port));
        rules
    }

    fn outbound(&self, port: u16) -> Vec<String> {
        let mut rules = vec![format!("meta skuid {} return", self.proxy_uid)];
        if let Some(gid) = self.proxy_gid {
            rules.push(format!("meta skgid {gid} return"));
        }
        rules.push("oifname \"lo\" return".to_owned());
        if !self.outbound_ports_to_ignore.is_empty() {
            rules.push(format!("tcp dport {} return", port_list(&self.outbound_ports_to_ignore)));
        }
        rules.push(format!("meta l4proto tcp redirect to :{port}"));
        rules
    }
}

fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    let mut out =
        format!("  chain {name} {{\n    type nat hook {hook} priority {PRIORITY}; policy accept;\n");
    for rule in rules {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "    {rule}");
    }
    out.push_str("  }\n");
    out
}

fn port_list(ports: &PortSet) -> String {
    let items: Vec<String> = ports
        .ranges()
        .iter()
        .map(|(lo, hi)| if lo == hi { lo.to_string() } else { format!("{lo}-{hi}") })
        .collect();
    format!("{{ {} }}", items.join(", "))
}

#[cfg(test)]
mod tests;
