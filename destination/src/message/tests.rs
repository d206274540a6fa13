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
        for_zones: Vec::new(),
    })
}

fn on(node: &str) -> Place {
    Place { node: node.to_owned(), zone: None }
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
    assert_eq!(told(&updates(None, &one, &on(""))), ["+1"]);
    assert_eq!(told(&updates(Some(&one), &two, &on(""))), ["+2", "-1"]);
    assert!(updates(Some(&two), &two, &on("")).is_empty());
}

#[test]
fn an_empty_service_and_a_missing_one_are_told_apart_and_once() {
    let (some, empty) = (view(&["10.0.0.1:80"]), view(&[]));
    assert_eq!(told(&updates(None, &empty, &on(""))), ["0"]);
    assert_eq!(told(&updates(Some(&some), &empty, &on(""))), ["0"]);
    assert!(updates(Some(&empty), &empty, &on("")).is_empty());
    assert_eq!(told(&updates(Some(&empty), &EndpointsView::default(), &on(""))), ["?"]);
    assert_eq!(told(&updates(Some(&EndpointsView::default()), &some, &on(""))), ["+1"]);
}

#[test]
fn node_local_services_tell_endpoints_of_the_clients_node_only() {
    let local = EndpointsView { node_local: true, ..view(&["10.0.0.1:80"]) };
    assert_eq!(told(&updates(None, &local, &on("n1"))), ["+1"]);
    assert_eq!(told(&updates(None, &local, &on("n2"))), ["0"]);
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

#[test]
fn zone_hints_are_followed_where_all_endpoints_have_them_and_one_is_near() {
    let hinted = |hints: &[(&str, &str)]| EndpointsView {
        endpoints: hints
            .iter()
            .map(|(address, zone)| {
                let for_zones = Some((*zone).to_owned()).filter(|z| !z.is_empty()).into_iter().collect();
                (
                    address.parse().expect("an address"),
                    Arc::new(Endpoint { for_zones, ..(*endpoint("n1")).clone() }),
                )
            })
            .collect(),
        ..view(&[])
    };
    let place = Place { node: "n1".to_owned(), zone: Some("a".to_owned()) };
    let both = hinted(&[("10.0.0.1:80", "a"), ("10.0.0.2:80", "b")]);
    let addresses = |view: &EndpointsView, place: &Place| usable(view, place).into_keys().collect::<Vec<_>>();
    assert_eq!(addresses(&both, &place), ["10.0.0.1:80".parse().expect("an address")]);
    assert_eq!(addresses(&both, &on("n1")).len(), 2, "a client whose zone is not known");
    assert_eq!(addresses(&hinted(&[("10.0.0.1:80", "a"), ("10.0.0.2:80", "")]), &place).len(), 2);
    assert_eq!(addresses(&hinted(&[("10.0.0.2:80", "b"), ("10.0.0.3:80", "c")]), &place).len(), 2);
    // What comes near replaces what was far.
    let far = hinted(&[("10.0.0.2:80", "b")]);
    assert_eq!(told(&updates(Some(&far), &both, &place)), ["+1", "-1"]);
}
