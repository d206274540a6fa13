use super::*;
use mesh_api::destination::{AuthorityOverride, Http2ClientParams, ProtocolHint, http2_client_params};

const GATEWAY: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";

fn made(addr: &WeightedAddr) -> Option<Endpoint> {
    let (now, accrual) = (Instant::now(), Setup::default().accrual);
    let health = Health::new(accrual, None, Arc::default(), now);
    endpoint(addr, &HashMap::new(), "web.shop:80", health)
}

fn meshed() -> WeightedAddr {
    WeightedAddr {
        addr: Some("10.1.2.3:8080".parse::<SocketAddr>().unwrap().into()),
        weight: 10_000,
        tls_identity: Some(mesh_api::convert::dns_identity(GATEWAY)),
        ..WeightedAddr::default()
    }
}

#[test]
fn an_endpoint_without_identity_is_reached_in_plaintext() {
    let endpoint = made(&WeightedAddr { tls_identity: None, ..meshed() }).unwrap();
    assert_eq!(endpoint.transport.tls, None);
    assert_eq!(endpoint.transport.header, None);
    assert_eq!(endpoint.labels.get("tls"), Some("no_identity"));
}

#[test]
fn opaque_transport_dials_the_proxy_and_names_the_port() {
    let hint = ProtocolHint {
        protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: 4143 }),
    };
    let endpoint = made(&WeightedAddr { protocol_hint: Some(hint), ..meshed() }).unwrap();
    assert_eq!(endpoint.transport.dial, "10.1.2.3:4143".parse().unwrap());
    assert_eq!(endpoint.transport.header, Some((8080, None)));
    assert_eq!(endpoint.transport.hint, Hint::Http2);
    assert_eq!(endpoint.labels.get("server_id"), Some(GATEWAY));
}

#[test]
fn a_gateway_is_told_the_remote_name_by_header_and_authority() {
    let named = AuthorityOverride { authority_override: "web.shop.svc.cluster.local:80".to_owned() };
    let endpoint = made(&WeightedAddr { authority_override: Some(named), ..meshed() }).unwrap();
    assert_eq!(endpoint.transport.dial, endpoint.addr);
    assert_eq!(endpoint.transport.header, Some((80, Some("web.shop.svc.cluster.local".to_owned()))));
    assert_eq!(endpoint.transport.authority.unwrap(), "web.shop.svc.cluster.local:80");
}

#[test]
fn an_endpoint_with_an_unusable_identity_is_left_out_rather_than_reached_in_plaintext() {
    assert!(
        made(&WeightedAddr { tls_identity: Some(mesh_api::convert::dns_identity("Not A Name")), ..meshed() })
            .is_none()
    );
    assert!(made(&WeightedAddr { addr: None, ..meshed() }).is_none());
}

#[test]
fn http2_keep_alive_is_the_control_planes() {
    let seconds = |seconds| Some(mesh_api::prost_types::Duration { seconds, nanos: 0 });
    let keep_alive =
        http2_client_params::KeepAlive { interval: seconds(7), timeout: seconds(2), while_idle: true };
    let http2 = Http2ClientParams { keep_alive: Some(keep_alive), ..Http2ClientParams::default() };
    let endpoint = made(&WeightedAddr { http2: Some(http2), ..meshed() }).unwrap();
    let (interval, timeout, idle) = endpoint.transport.keep_alive.unwrap();
    assert_eq!((interval.as_secs(), timeout.as_secs(), idle), (7, 2, true));
}
