use super::*;

const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";
const GATEWAY: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";

fn sanitized(client: Option<&str>) -> HeaderMap {
    let (mut headers, client) = (claims(), client.map(|name| name.parse().unwrap()));
    sanitize(&mut headers, client.as_ref(), client_id(client.as_ref()).as_ref(), &gateways());
    headers
}

fn gateways() -> Vec<Identity> {
    vec![GATEWAY.parse().unwrap()]
}

fn claims() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("l5d-client-id", HeaderValue::from_static("somebody-else"));
    headers.insert("l5d-dst-canonical", HeaderValue::from_static("web.shop.svc.cluster.local"));
    headers.insert("forwarded", HeaderValue::from_str(&format!("for=1.2.3.4, by=x;for={WEB}")).unwrap());
    headers.insert("x-app", HeaderValue::from_static("1"));
    headers
}

#[test]
fn a_stranger_may_not_speak_for_the_mesh() {
    let headers = sanitized(None);
    assert!(headers.keys().all(|name| !name.as_str().starts_with("l5d-")));
    assert_eq!(headers["forwarded"], "for=1.2.3.4");
    assert_eq!(headers["x-app"], "1");
}

#[test]
fn a_meshed_client_is_named_by_its_certificate() {
    let headers = sanitized(Some(WEB));
    assert_eq!(headers["l5d-client-id"], WEB);
    assert_eq!(headers["l5d-dst-canonical"], "web.shop.svc.cluster.local");
    assert_eq!(headers["forwarded"], "for=1.2.3.4");
}

#[test]
fn a_gateway_may_name_the_client_behind_it() {
    let headers = sanitized(Some(GATEWAY));
    assert_eq!(headers["l5d-client-id"], GATEWAY);
    assert!(headers["forwarded"].to_str().unwrap().contains(WEB));
}

#[test]
fn a_gateway_of_another_trust_domain_may_not_speak_of_our_clients() {
    let headers = sanitized(Some(&GATEWAY.replace("cluster.local", "example.org")));
    assert_eq!(headers["forwarded"], "for=1.2.3.4");
}
