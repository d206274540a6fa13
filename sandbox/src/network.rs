//! The network of the sandbox: a WAN, a node network per cluster and a network per pod, each an anonymous namespace that
//! dies with the descriptors that hold it.
//!
//! There is no bridge. A pod has a /32 address and one default route; its node has one /32 route per pod; so every packet
//! is routed through the node's namespace, where Services are rewritten. Neighbours are permanent entries, so no packet
//! ever waits for ARP.

mod address;
mod link;
mod netns;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use parking_lot::Mutex;

use crate::error::Error;
use address::Allocator;
pub(crate) use netns::NetNs;

/// What pods use as their gateway; no interface has it, the neighbour entry is enough.
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Hardware address of the node's side of every pod link, and of the WAN's side of every cluster link.
const NODE_MAC: [u8; 6] = [0xee; 6];
/// Name of the cluster's side of its WAN link.
const WAN_LINK: &str = "wan0";
/// Index of the WAN's first usable third octet.
const FIRST_CLUSTER: u8 = 1;

/// The network between clusters: 198.18.0.0/15 (the benchmark range of RFC 2544), a /24 of it per cluster.
#[derive(Debug, Clone)]
pub(crate) struct Wan {
    netns: NetNs,
}

/// The addresses of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterNet {
    /// 1 for the first cluster; decides its WAN addresses, 198.18.`index`.0/24.
    pub(crate) index: u8,
    /// Cluster name, for messages.
    pub(crate) name: String,
    /// Where pod addresses come from.
    pub(crate) pod_cidr: Ipv4Net,
    /// Where cluster IPs come from. Its first address is the API server's, its tenth the cluster DNS server's.
    pub(crate) service_cidr: Ipv4Net,
    /// Pod addresses are routed on the WAN: every cluster then needs a pod range of its own.
    pub(crate) flat: bool,
}

impl ClusterNet {
    /// The addresses the WAN routes to this cluster.
    pub(crate) fn external(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(198, 18, self.index, 0), 24)
    }

    /// The node's address, the source of what leaves the cluster.
    pub(crate) fn node_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.index, 2)
    }

    /// The cluster IP of the API server.
    pub(crate) fn api_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 1)
    }

    /// The cluster IP of the cluster DNS server.
    pub(crate) fn dns_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 10)
    }

    fn wan_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.index, 1)
    }
}

fn nth(range: Ipv4Net, offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).saturating_add(offset))
}

impl Wan {
    /// Makes the WAN.
    ///
    /// # Errors
    /// When namespaces or links cannot be made (this needs root).
    pub(crate) fn create() -> Result<Self, Error> {
        let netns = NetNs::create()?;
        link::prepare_router(&netns)?;
        Ok(Self { netns })
    }

    /// The WAN's namespace.
    pub(crate) fn netns(&self) -> &NetNs {
        &self.netns
    }
}

/// The network of one cluster's node. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ClusterNetwork(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    net: ClusterNet,
    netns: NetNs,
    addresses: Mutex<Allocator>,
}

impl ClusterNetwork {
    /// Makes a cluster's network and links it to the WAN, where its side of the link is named `c<index>`.
    ///
    /// # Errors
    /// When namespaces, links or nft rules cannot be made (this needs root).
    pub(crate) fn create(wan: &Wan, net: ClusterNet) -> Result<Self, Error> {
        if net.index < FIRST_CLUSTER {
            return Err(Error::Refused(format!("cluster {}: the first cluster has index 1", net.name)));
        }
        let netns = NetNs::create()?;
        link::prepare_router(&netns)?;
        link::connect_cluster(wan, &netns, &net)?;
        link::run_nft(&netns, &masquerade(&net))?;
        let addresses = Mutex::new(Allocator::new(net.pod_cidr));
        Ok(Self(Arc::new(Inner { net, netns, addresses })))
    }

    /// The cluster's addresses.
    pub(crate) fn net(&self) -> &ClusterNet {
        &self.0.net
    }

    /// The node's namespace.
    pub(crate) fn netns(&self) -> &NetNs {
        &self.0.netns
    }

    /// Makes the namespace of a new pod and gives it an address. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// When no address is left, or namespaces or links cannot be made.
    pub(crate) fn attach_pod(&self) -> Result<PodNetwork, Error> {
        let ip = self.0.addresses.lock().take().ok_or_else(|| {
            Error::Refused(format!(
                "no pod address is left in {} of {}",
                self.0.net.pod_cidr, self.0.net.name
            ))
        })?;
        let pod = PodNetwork { cluster: self.clone(), netns: NetNs::create()?, ip };
        link::connect_pod(&self.0.netns, self.0.net.node_ip(), &pod.netns, ip)?;
        Ok(pod)
    }
}

/// The network of one pod. Dropping it gives its address back; the namespace goes when nothing runs in it any more.
#[derive(Debug)]
pub(crate) struct PodNetwork {
    cluster: ClusterNetwork,
    netns: NetNs,
    ip: Ipv4Addr,
}

impl PodNetwork {
    /// The pod's namespace.
    pub(crate) fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// The pod's address.
    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Takes the pod off the network at once, so that its peers see it gone. Blocks for about a millisecond.
    ///
    /// # Errors
    /// When the link cannot be removed.
    pub(crate) fn detach(&self) -> Result<(), Error> {
        link::disconnect_pod(&self.cluster.0.netns, self.ip)
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        self.cluster.0.addresses.lock().give_back(self.ip);
    }
}

/// What leaves the cluster has the node's address, as behind any real node.
fn masquerade(net: &ClusterNet) -> String {
    let (pods, services, node) = (net.pod_cidr, net.service_cidr, net.node_ip());
    let mut inside = vec![pods, services];
    if net.flat {
        inside.push(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8));
    }
    // nft refuses ranges that overlap.
    let inside: Vec<String> = Ipv4Net::aggregate(&inside).iter().map(ToString::to_string).collect();
    let inside = inside.join(", ");
    format!(
        "table ip isthmus_node\ndelete table ip isthmus_node\ntable ip isthmus_node {{\n\
         \tchain postrouting {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\toifname {WAN_LINK} ip saddr {pods} ip daddr != {{ {inside} }} snat to {node}\n\t}}\n}}\n"
    )
}

#[cfg(test)]
mod tests;
