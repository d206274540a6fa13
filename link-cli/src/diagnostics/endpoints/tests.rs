use super::*;
use mesh_api::destination::{AddrSet, WeightedAddrSet};
use mesh_api::net::IpAddress;

fn address(ip: IpAddr, port: u32) -> TcpAddress {
    let ip = match ip {
        IpAddr::V4(v4) => Ip::Ipv4(v4.into()),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            let (first, last) = ((bits >> 64) as u64, bits as u64);
            Ip::Ipv6(mesh_api::net::IPv6 { first, last })
        }
    };
    TcpAddress { ip: Some(IpAddress { ip: Some(ip) }), port }
}

#[test]
fn addresses_of_both_families_are_read() {
    for text in ["10.42.0.7", "fd00::1:2"] {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(socket_addr(&address(ip, 80)), Some(SocketAddr::new(ip, 80)));
    }
    assert_eq!(socket_addr(&address("10.0.0.1".parse().unwrap(), 70_000)), None);
}

#[test]
fn updates_add_remove_and_clear() {
    let one = address("10.0.0.1".parse().unwrap(), 80);
    let two = address("10.0.0.2".parse().unwrap(), 80);
    let add = |addr: TcpAddress| WeightedAddr { addr: Some(addr), weight: 10_000, ..WeightedAddr::default() };
    let mut found = Found::new();
    let set = WeightedAddrSet { addrs: vec![add(one), add(two)], ..WeightedAddrSet::default() };
    take(&mut found, Update { update: Some(update::Update::Add(set)) });
    assert_eq!(found.len(), 2);
    take(&mut found, Update { update: Some(update::Update::Remove(AddrSet { addrs: vec![one] })) });
    assert_eq!(found.len(), 1);
    take(&mut found, Update { update: Some(update::Update::NoEndpoints(Default::default())) });
    assert!(found.is_empty());
}
