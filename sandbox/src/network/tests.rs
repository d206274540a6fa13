use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

fn cluster(wan: &Wan, index: u8) -> ClusterNetwork {
    create(wan, index, "10.42.0.0/16", false)
}

fn create(wan: &Wan, index: u8, pods: &str, flat: bool) -> ClusterNetwork {
    let net = ClusterNet {
        index,
        name: format!("cluster-{index}"),
        pod_cidr: pods.parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
        flat,
    };
    ClusterNetwork::create(wan, net).unwrap()
}

/// Accepts one connection in `netns` and answers with the client's address.
fn say_who_calls(netns: &NetNs, at: (Ipv4Addr, u16)) -> std::thread::JoinHandle<()> {
    let listener = netns.run(|| TcpListener::bind(at).unwrap()).unwrap();
    std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
    })
}

fn call(netns: &NetNs, to: (Ipv4Addr, u16)) -> std::io::Result<String> {
    netns
        .run(|| {
            let mut answer = String::new();
            TcpStream::connect_timeout(&SocketAddr::from(to), Duration::from_secs(3))?
                .read_to_string(&mut answer)?;
            Ok(answer)
        })
        .unwrap()
}

#[test]
fn pods_reach_each_other_and_their_node_by_pod_address() {
    let wan = Wan::create().unwrap();
    let east = cluster(&wan, 1);
    let (a, b) = (east.attach_pod().unwrap(), east.attach_pod().unwrap());
    let server = say_who_calls(b.netns(), (b.ip(), 80));
    assert_eq!(call(a.netns(), (b.ip(), 80)).unwrap(), a.ip().to_string());
    server.join().unwrap();

    let server = say_who_calls(b.netns(), (b.ip(), 81));
    assert_eq!(call(east.netns(), (b.ip(), 81)).unwrap(), "198.18.1.2");
    server.join().unwrap();

    let server = say_who_calls(east.netns(), (east.net().api_ip(), 443));
    assert_eq!(call(a.netns(), ("10.43.0.1".parse().unwrap(), 443)).unwrap(), a.ip().to_string());
    server.join().unwrap();
}

#[test]
fn clusters_with_identical_ranges_meet_only_on_the_wan() {
    let wan = Wan::create().unwrap();
    let (east, west) = (cluster(&wan, 1), cluster(&wan, 2));
    let client = east.attach_pod().unwrap();
    let twins = [west.attach_pod().unwrap(), west.attach_pod().unwrap()];
    assert_eq!(client.ip(), twins[0].ip());

    let server = say_who_calls(west.netns(), (west.net().node_ip(), 6443));
    let seen = call(client.netns(), (west.net().node_ip(), 6443)).unwrap();
    assert_eq!(seen, "198.18.1.2", "what leaves a cluster has its node's address");
    server.join().unwrap();

    let refused = call(client.netns(), (twins[1].ip(), 80)).unwrap_err();
    assert_ne!(refused.kind(), ErrorKind::TimedOut, "no pod there: refused, not dropped");
}

#[test]
fn a_detached_pod_is_gone_at_once_and_its_address_comes_back_later() {
    let wan = Wan::create().unwrap();
    let east = cluster(&wan, 1);
    let (a, b) = (east.attach_pod().unwrap(), east.attach_pod().unwrap());
    let b_ip = b.ip();
    b.detach().unwrap();
    b.detach().unwrap();
    let refused = call(a.netns(), (b_ip, 80)).unwrap_err();
    assert_ne!(refused.kind(), ErrorKind::TimedOut, "no route is left");
    drop(b);
    assert_ne!(east.attach_pod().unwrap().ip(), b_ip);
}

#[test]
fn on_a_flat_wan_pods_of_two_clusters_see_each_others_addresses() {
    let wan = Wan::create().unwrap();
    let (east, west) = (create(&wan, 1, "10.42.0.0/16", true), create(&wan, 2, "10.44.0.0/16", true));
    let (client, target) = (east.attach_pod().unwrap(), west.attach_pod().unwrap());
    let server = say_who_calls(target.netns(), (target.ip(), 80));
    assert_eq!(call(client.netns(), (target.ip(), 80)).unwrap(), client.ip().to_string());
    server.join().unwrap();
}
