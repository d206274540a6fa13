use super::*;
use mesh_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use mesh_api::net::IpNetwork;

fn authz(permit: authn::Permit) -> api::Authz {
    let net = IpNetwork { ip: Some([10, 0, 0, 0].map(u8::from).into()), prefix_len: 8 };
    api::Authz {
        networks: vec![api::Network { net: Some(net), except: vec![] }],
        authentication: Some(api::Authn { permit: Some(permit) }),
        labels: HashMap::from([("name".to_owned(), "authz".to_owned())]),
        metadata: None,
    }
}

fn unauthenticated() -> api::Authz {
    authz(authn::Permit::Unauthenticated(authn::PermitUnauthenticated {}))
}

fn server(kind: Option<Kind>, authorizations: Vec<api::Authz>) -> api::Server {
    api::Server { protocol: Some(api::ProxyProtocol { kind }), authorizations, ..api::Server::default() }
}

fn http1(path: path_match::Kind, authorizations: Vec<api::Authz>) -> Option<Kind> {
    let matches = HttpRouteMatch { path: Some(PathMatch { kind: Some(path) }), ..HttpRouteMatch::default() };
    let kind = meta::metadata::Kind::Default("probe".to_owned());
    let route = api::HttpRoute {
        metadata: Some(meta::Metadata { kind: Some(kind) }),
        authorizations,
        rules: vec![api::http_route::Rule { matches: vec![matches], filters: vec![] }],
        hosts: vec![],
    };
    Some(Kind::Http1(api::proxy_protocol::Http1 { routes: vec![route], local_rate_limit: None }))
}

#[test]
fn an_authorization_without_networks_lets_nobody_in() {
    let nowhere = api::Authz { networks: vec![], ..unauthenticated() };
    let kind = Some(Kind::Opaque(api::proxy_protocol::Opaque {}));
    let policy = server_policy(server(kind, vec![nowhere, unauthenticated()])).unwrap();
    assert_eq!(policy.authorizations.len(), 1);
}

#[test]
fn a_routes_authorizations_extend_the_servers() {
    let kind = http1(path_match::Kind::Exact("/ready".into()), vec![unauthenticated()]);
    let policy = server_policy(server(kind, vec![unauthenticated()])).unwrap();
    let request = http::Request::builder().uri("/ready").body(()).unwrap();
    let taken = policy.routes().unwrap().find(&request).unwrap();
    assert_eq!(taken.route.authorizations.len(), 2);
    assert_eq!((&*taken.route.meta.kind, &*taken.route.meta.name), ("default", "probe"));
    assert!(policy.routes().unwrap().find(&http::Request::new(())).is_none());
}

#[test]
fn what_cannot_be_used_is_named() {
    let bad = server_policy(server(None, vec![])).unwrap_err();
    assert_eq!(bad, PolicyError::Protocol);
    let kind = http1(path_match::Kind::Regex("(".into()), vec![]);
    let bad = server_policy(server(kind, vec![])).unwrap_err().to_string();
    assert!(bad.contains("route probe") && bad.contains('('), "{bad}");
    let opaque = || Some(Kind::Opaque(api::proxy_protocol::Opaque {}));
    let anonymous = api::Authz { authentication: None, ..unauthenticated() };
    let bad = server_policy(server(opaque(), vec![anonymous])).unwrap_err();
    assert_eq!(bad, PolicyError::Authentication("authz".to_owned()));
    let clients = authn::permit_mesh_tls::PermitClientIdentities {
        identities: vec![api::Identity { name: "not a name".to_owned() }],
        suffixes: vec![],
    };
    let permit = authn::PermitMeshTls { clients: Some(Clients::Identities(clients)) };
    let bad = server_policy(server(opaque(), vec![authz(authn::Permit::MeshTls(permit))])).unwrap_err();
    assert_eq!(bad, PolicyError::Identity("authz".to_owned(), "not a name".to_owned()));
}

proptest::proptest! {
    #[test]
    fn no_policy_however_damaged_makes_us_panic(at in 0usize..2000, to in proptest::prelude::any::<u8>()) {
        use mesh_api::prost::Message;
        for seed in [
            &include_bytes!("../../../../../fuzz/seeds/policy/inbound-detect")[..],
            include_bytes!("../../../../../fuzz/seeds/policy/inbound-opaque"),
            include_bytes!("../../../../../fuzz/seeds/policy/inbound-grpc"),
        ] {
            let mut bytes = seed.to_vec();
            let len = bytes.len();
            bytes[at % len] = to;
            if let Ok(message) = api::Server::decode(&bytes[..]) {
                let _ = server_policy(message);
            }
        }
    }
}
