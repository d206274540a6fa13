use super::*;
use crate::model::Key;

fn endpoint(node: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        weight: 10_000,
        labels: BTreeMap::new(),
        identity: Some("web.shop.serviceaccount.identity.linkerd.cluster.local".to_owned()),
        hint: Hint::H2,
        transport_port: Some(4143),
        authority_override: None,
        pod: Some(Key::new("shop", "web-a")),
        node: Some(node.to_owned()),
    })
}

fn view(addrs: &[&str]) -> EndpointsView {
    EndpointsView {
        exists: true,
        service: Some(Key::new("shop", "web")),
        node_local: false,
        endpoints: addrs.iter().map(|a| (a.parse().expect("an address"), endpoint("n1"))).collect(),
    }
}

/// `+n` for n added, `-n` for n removed, `0` and `?` for none with and without the Service.
fn told(updates: &[Update]) -> Vec<String> {
    let one = |u: &Update| match u.update.as_ref().expect("an update") {
        update::Update::Add(set) => format!("+{}", set.addrs.len()),
        update::Update::Remove(set) => format!("-{}", set.addrs.len()),
        update::Update::NoEndpoints(none) => if none.exists { "0" } else { "?" }.to_owned(),
    };
    updates.iter().map(one).collect()
}

#[test]
fn the_first_answer_is_everything_and_later_ones_are_differences() {
    let (one, two) = (view(&["10.0.0.1:80"]), view(&["10.0.0.2:80", "10.0.0.3:80"]));
    assert_eq!(told(&updates(None, &one, "")), ["+1"]);
    assert_eq!(told(&updates(Some(&one), &two, "")), ["+2", "-1"]);
    assert!(updates(Some(&two), &two, "").is_empty());
}

#[test]
fn an_empty_service_and_a_missing_one_are_told_apart_and_once() {
    let (some, empty) = (view(&["10.0.0.1:80"]), view(&[]));
    assert_eq!(told(&updates(None, &empty, "")), ["0"]);
    assert_eq!(told(&updates(Some(&some), &empty, "")), ["0"]);
    assert!(updates(Some(&empty), &empty, "").is_empty());
    assert_eq!(told(&updates(Some(&empty), &EndpointsView::default(), "")), ["?"]);
    assert_eq!(told(&updates(Some(&EndpointsView::default()), &some, "")), ["+1"]);
}

#[test]
fn node_local_services_tell_endpoints_of_the_clients_node_only() {
    let local = EndpointsView { node_local: true, ..view(&["10.0.0.1:80"]) };
    assert_eq!(told(&updates(None, &local, "n1")), ["+1"]);
    assert_eq!(told(&updates(None, &local, "n2")), ["0"]);
}

#[test]
fn a_meshed_endpoint_is_sent_with_server_name_hint_and_keepalive() {
    let message = weighted_addr("10.0.0.1:80".parse().expect("an address"), &endpoint("n1"));
    let identity = message.tls_identity.expect("an identity");
    assert_eq!(identity.server_name.map(|n| n.name), endpoint("n1").identity);
    let hint = message.protocol_hint.expect("a hint");
    assert_eq!(hint.opaque_transport.map(|t| t.inbound_port), Some(4143));
    assert!(message.http2.and_then(|h| h.keep_alive).is_some_and(|k| k.while_idle));
}
