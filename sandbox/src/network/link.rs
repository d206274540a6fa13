//! Links, addresses, routes and neighbours, by rtnetlink.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use ipnet::Ipv4Net;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{ClusterNet, NODE_MAC, NetNs, POD_GATEWAY, WAN_LINK, Wan};
use crate::error::Error;

/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;
/// Index given to the first interface made in a namespace.
const FIRST_LINK: u32 = 2;
/// Name of a pod's interface.
const POD_LINK: &str = "eth0";

type Netlink = Result<(), rtnetlink::Error>;

/// Loopback up, forwarding on, no reverse-path filter.
pub(super) fn prepare_router(netns: &NetNs) -> Result<(), Error> {
    let settings = [
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        // The sandbox is IPv4; IPv6 on links would only be noise. Loopback keeps it.
        ("ipv6/conf/default/disable_ipv6", "1"),
    ];
    set(netns, &settings)?;
    configure(netns, "prepare a router", async |handle| link_up(&handle, LOOPBACK).await)
}

/// The veth between a cluster and the WAN, and what is reached over it.
pub(super) fn connect_cluster(wan: &Wan, node: &NetNs, net: &ClusterNet) -> Result<(), Error> {
    let outside = format!("c{}", net.index);
    let mac = mac_of(net.node_ip());
    let link = veth(&outside, NODE_MAC, WAN_LINK, mac, node);
    configure(&wan.netns, "link a cluster to the WAN", async |handle| {
        handle.link().add(link).execute().await?;
        let index = index_of(&outside)?;
        handle.address().add(index, net.wan_ip().into(), 32).execute().await?;
        neighbour(&handle, index, net.node_ip(), mac).await?;
        add_route(&handle, host_route(index, net.node_ip(), net.wan_ip())).await?;
        add_route(&handle, route_via(net.external(), index, net.node_ip(), None)).await?;
        if net.flat {
            add_route(&handle, route_via(net.pod_cidr, index, net.node_ip(), None)).await?;
        }
        Ok(())
    })?;
    configure(node, "link a cluster to the WAN", async |handle| {
        for service in [net.api_ip(), net.dns_ip()] {
            handle.address().add(LOOPBACK, service.into(), 32).execute().await?;
        }
        link_up(&handle, FIRST_LINK).await?;
        handle.address().add(FIRST_LINK, net.node_ip().into(), 32).execute().await?;
        neighbour(&handle, FIRST_LINK, net.wan_ip(), NODE_MAC).await?;
        let default = route_via(Ipv4Net::default(), FIRST_LINK, net.wan_ip(), Some(net.node_ip()));
        add_route(&handle, default).await?;
        // An address no pod has is unreachable here, and never a neighbour's of the same range.
        let pods = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.pod_cidr.network(), net.pod_cidr.prefix_len())
            .kind(RouteType::Unreachable)
            .build();
        add_route(&handle, pods).await
    })
}

/// The veth between a node and a pod: /32 routes both ways.
pub(super) fn connect_pod(node: &NetNs, node_ip: Ipv4Addr, pod: &NetNs, ip: Ipv4Addr) -> Result<(), Error> {
    let (name, mac) = (pod_link(ip), mac_of(ip));
    let settings = [
        ("ipv6/conf/default/disable_ipv6", "1"),
        // As container runtimes do: any user may listen on low ports and send pings.
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
    ];
    set(pod, &settings)?;
    let link = veth(&name, NODE_MAC, POD_LINK, mac, pod);
    configure(node, "link a pod to its node", async |handle| {
        handle.link().add(link).execute().await?;
        let index = index_of(&name)?;
        neighbour(&handle, index, ip, mac).await?;
        add_route(&handle, host_route(index, ip, node_ip)).await
    })?;
    configure(pod, "set a pod's address", async |handle| {
        link_up(&handle, LOOPBACK).await?;
        link_up(&handle, FIRST_LINK).await?;
        handle.address().add(FIRST_LINK, ip.into(), 32).execute().await?;
        neighbour(&handle, FIRST_LINK, POD_GATEWAY, NODE_MAC).await?;
        add_route(&handle, route_via(Ipv4Net::default(), FIRST_LINK, POD_GATEWAY, None)).await
    })
}

/// Removes a pod's link, and with it its route.
pub(super) fn disconnect_pod(node: &NetNs, ip: Ipv4Addr) -> Result<(), Error> {
    let name = pod_link(ip);
    configure(node, "unlink a pod", async |handle| {
        match index_of(&name) {
            Ok(index) => handle.link().del(index).execute().await,
            // The namespace went first and took both ends along.
            Err(_) => Ok(()),
        }
    })
}

/// Feeds a script to `nft -f -` inside a namespace and waits for it.
pub(super) fn run_nft(netns: &NetNs, script: &str) -> Result<(), Error> {
    let failed = |reason: String| Error::Nft { reason, script: script.to_owned() };
    let run = || -> io::Result<std::process::Output> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = netns.run(run).and_then(|output| output).map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn set(netns: &NetNs, settings: &[(&str, &str)]) -> Result<(), Error> {
    let write = || {
        for (key, value) in settings {
            match std::fs::write(format!("/proc/sys/net/{key}"), value) {
                // A kernel without IPv6 has nothing to switch off.
                Err(error) if error.kind() == io::ErrorKind::NotFound && key.starts_with("ipv6") => {}
                Err(error) => return Err((*key, error)),
                Ok(()) => {}
            }
        }
        Ok(())
    };
    let system = |action: String, source| Error::System { action, source };
    netns
        .run(write)
        .map_err(|source| system("enter a network namespace".into(), source))?
        .map_err(|(key, source)| system(format!("set net/{key}"), source))
}

/// Runs rtnetlink requests inside a namespace, on a thread and runtime of their own.
fn configure(
    netns: &NetNs,
    action: &str,
    requests: impl AsyncFnOnce(Handle) -> Netlink + Send,
) -> Result<(), Error> {
    let run = || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            requests(handle).await.map_err(|error| match error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            })
        })
    };
    netns.run(run).and_then(|done| done).map_err(|source| Error::System { action: action.to_owned(), source })
}

/// A veth pair whose far end is in another namespace, still down: the kernel refuses to start it before the near one.
fn veth(near: &str, near_mac: [u8; 6], far: &str, far_mac: [u8; 6], far_netns: &NetNs) -> LinkMessage {
    let peer = LinkUnspec::new_with_name(far)
        .index(FIRST_LINK)
        .address(far_mac.to_vec())
        .setns_by_fd(far_netns.as_fd().as_raw_fd())
        .build();
    LinkVeth::new(near, far)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .address(near_mac.to_vec())
        .up()
        .build()
}

async fn link_up(handle: &Handle, index: u32) -> Netlink {
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
}

async fn neighbour(handle: &Handle, index: u32, ip: Ipv4Addr, mac: [u8; 6]) -> Netlink {
    handle.neighbours().add(index, ip.into()).link_layer_address(&mac).execute().await
}

async fn add_route(handle: &Handle, route: RouteMessage) -> Netlink {
    handle.route().add(route).execute().await
}

/// One address straight behind an interface. Without `source` the kernel would take any address of the namespace.
fn host_route(index: u32, to: Ipv4Addr, source: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .pref_source(source)
        .build()
}

/// A range behind a gateway that need not be on a connected network.
fn route_via(range: Ipv4Net, index: u32, gateway: Ipv4Addr, source: Option<Ipv4Addr>) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .output_interface(index)
        .gateway(gateway)
        .onlink();
    match source {
        Some(source) => route.pref_source(source).build(),
        None => route.build(),
    }
}

fn index_of(name: &str) -> Result<u32, rtnetlink::Error> {
    let index = || -> io::Result<u32> {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
        Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
    };
    index().map_err(|error| rtnetlink::Error::NamespaceError(format!("interface {name}: {error}")))
}

/// The name of the node's side of a pod's link: `p` and the address in hexadecimal.
fn pod_link(ip: Ipv4Addr) -> String {
    format!("p{:08x}", u32::from(ip))
}

/// A locally administered hardware address made from an address.
fn mac_of(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}
