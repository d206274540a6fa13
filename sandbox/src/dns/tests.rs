use super::*;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}

fn index() -> Index {
    let services = [
        service(
            "shop",
            "web",
            json!({ "clusterIP": "10.43.0.20", "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] }),
        ),
        service("shop", "db", json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] })),
        service("shop", "idle", json!({ "clusterIP": "None" })),
        service("shop", "outside", json!({ "type": "ExternalName", "externalName": "example.org" })),
        service(
            "shop",
            "alias",
            json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" }),
        ),
    ];
    let slice = json!({
        "metadata": { "namespace": "shop", "name": "db-1", "labels": { "kubernetes.io/service-name": "db" } },
        "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
        "endpoints": [
            { "addresses": ["10.42.0.5"], "hostname": "zero", "conditions": { "ready": true } },
            { "addresses": ["10.42.0.6"], "conditions": { "ready": true } },
            { "addresses": ["10.42.0.7"], "conditions": { "ready": false } },
        ],
    });
    Index::new("cluster.local", services.iter(), [slice].iter(), ["shop", "quiet"].into_iter())
}

fn ask(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let answer = index().answer(&Name::from_ascii(name).unwrap(), kind);
    (answer.code, answer.records.iter().map(|record| record.data.to_string()).collect())
}

fn found(records: &[&str]) -> (ResponseCode, Vec<String>) {
    (ResponseCode::NoError, records.iter().map(|record| (*record).to_owned()).collect())
}

#[test]
fn a_service_answers_with_its_cluster_ip_whatever_the_case() {
    assert_eq!(ask("web.shop.svc.cluster.local.", RecordType::A), found(&["10.43.0.20"]));
    assert_eq!(ask("WEB.Shop.SVC.cluster.LOCAL.", RecordType::A), found(&["10.43.0.20"]));
}

#[test]
fn aaaa_is_nodata_not_nxdomain() {
    let answer = index().answer(&Name::from_ascii("web.shop.svc.cluster.local.").unwrap(), RecordType::AAAA);
    assert_eq!((answer.code, answer.records.len()), (ResponseCode::NoError, 0));
    assert_eq!(answer.zone, Some(Name::from_ascii("cluster.local.").unwrap()));
}

#[test]
fn unknown_names_are_nxdomain_and_existing_branches_are_not() {
    for name in [
        "nope.shop.svc.cluster.local.",
        "web.nope.svc.cluster.local.",
        "example.org.",
        "idle.shop.svc.cluster.local.",
    ] {
        assert_eq!(ask(name, RecordType::A).0, ResponseCode::NXDomain, "{name}");
    }
    for name in
        ["cluster.local.", "svc.cluster.local.", "shop.svc.cluster.local.", "quiet.svc.cluster.local."]
    {
        assert_eq!(ask(name, RecordType::A), found(&[]), "{name}");
    }
}

#[test]
fn a_headless_service_answers_with_its_ready_members() {
    assert_eq!(ask("db.shop.svc.cluster.local.", RecordType::A), found(&["10.42.0.5", "10.42.0.6"]));
    assert_eq!(ask("zero.db.shop.svc.cluster.local.", RecordType::A), found(&["10.42.0.5"]));
    assert_eq!(ask("10-42-0-6.db.shop.svc.cluster.local.", RecordType::A), found(&["10.42.0.6"]));
    assert_eq!(ask("10-42-0-7.db.shop.svc.cluster.local.", RecordType::A).0, ResponseCode::NXDomain);
}

#[test]
fn srv_names_ports_and_carries_addresses() {
    assert_eq!(
        ask("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV),
        found(&["0 100 80 web.shop.svc.cluster.local."])
    );
    let answer =
        index().answer(&Name::from_ascii("_sql._tcp.db.shop.svc.cluster.local.").unwrap(), RecordType::SRV);
    assert_eq!((answer.records.len(), answer.additionals.len()), (2, 2));
    assert_eq!(ask("_nope._tcp.web.shop.svc.cluster.local.", RecordType::SRV).0, ResponseCode::NXDomain);
}

#[test]
fn external_names_are_aliases_followed_inside_the_cluster() {
    assert_eq!(ask("outside.shop.svc.cluster.local.", RecordType::A), found(&["example.org."]));
    assert_eq!(
        ask("alias.shop.svc.cluster.local.", RecordType::A),
        found(&["web.shop.svc.cluster.local.", "10.43.0.20"])
    );
}

#[test]
fn pods_answer_by_address_and_addresses_by_name() {
    assert_eq!(ask("10-42-0-99.shop.pod.cluster.local.", RecordType::A), found(&["10.42.0.99"]));
    assert_eq!(ask("x.shop.pod.cluster.local.", RecordType::A).0, ResponseCode::NXDomain);
    assert_eq!(ask("20.0.43.10.in-addr.arpa.", RecordType::PTR), found(&["web.shop.svc.cluster.local."]));
    assert_eq!(ask("5.0.42.10.in-addr.arpa.", RecordType::PTR), found(&["zero.db.shop.svc.cluster.local."]));
    assert_eq!(ask("9.9.9.10.in-addr.arpa.", RecordType::PTR).0, ResponseCode::NXDomain);
}
