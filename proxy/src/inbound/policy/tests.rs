use super::*;
use proptest::prelude::*;

fn client(addr: &str, tls: ClientTls) -> Client {
    Client { addr: format!("{addr}:1000").parse().unwrap(), tls }
}

fn mesh(name: &str) -> ClientTls {
    ClientTls::Mesh(Some(name.parse().unwrap()))
}

fn authorization(networks: Vec<Network>, authentication: Authentication) -> Authorization {
    Authorization { meta: Meta::default(), networks, authentication }
}

fn identities(names: &[&str], suffixes: &[&str]) -> Authentication {
    Authentication::Identities {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
    }
}

#[test]
fn identities_match_whole_or_by_suffix_on_a_label_boundary() {
    let allow = |names: &[&str], suffixes: &[&str], id: &str| {
        authorization(Network::all(), identities(names, suffixes)).permits(&client("10.0.0.1", mesh(id)))
    };
    assert!(allow(&["a.shop"], &[], "a.shop") && !allow(&["a.shop"], &[], "b.shop"));
    assert!(allow(&[], &["shop"], "a.shop") && !allow(&[], &["shop"], "a.workshop"));
    assert!(allow(&[], &[""], "anyone.at.all"));
}

#[test]
fn only_mesh_tls_proves_an_identity() {
    let any = authorization(Network::all(), identities(&[], &[""]));
    let tls = authorization(Network::all(), Authentication::Tls);
    for other in [ClientTls::None, ClientTls::Passthrough] {
        assert!(!any.permits(&client("10.0.0.1", other.clone())));
        assert!(!tls.permits(&client("10.0.0.1", other)));
    }
    assert!(!any.permits(&client("10.0.0.1", ClientTls::Mesh(None))));
    assert!(tls.permits(&client("10.0.0.1", ClientTls::Mesh(None))));
}

#[test]
fn excepted_networks_are_out() {
    let network =
        Network { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.1.0.0/16".parse().unwrap()] };
    let policy = authorization(vec![network], Authentication::Unauthenticated);
    assert!(policy.permits(&client("10.2.0.1", ClientTls::None)));
    assert!(!policy.permits(&client("10.1.0.1", ClientTls::None)));
    assert!(!policy.permits(&client("192.168.0.1", ClientTls::None)));
}

proptest! {
    #[test]
    fn without_authorizations_nobody_gets_in(a in any::<[u8; 4]>(), named in any::<bool>()) {
        let policy = ServerPolicy {
            meta: Meta::default(),
            protocol: Protocol::Opaque,
            authorizations: Arc::new([]),
            rate_limit: None,
        };
        let tls = if named { mesh("a.shop") } else { ClientTls::None };
        let client = Client { addr: (a, 1).into(), tls };
        prop_assert!(policy.authorize(&client).is_none());
    }
}
