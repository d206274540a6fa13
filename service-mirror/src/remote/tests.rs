use super::*;
use serde_json::json;

#[test]
fn gateway_addresses_come_from_the_load_balancer_then_from_external_ips() {
    let mut service = json!({
        "spec": {"ports": [{"name": "mc-gateway", "port": 4443}], "externalIPs": ["192.0.2.7"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.18.2.10"}, {"hostname": "gw.example"}]}},
    });
    let hosts = vec!["198.18.2.10".to_owned(), "gw.example".to_owned()];
    assert_eq!(published(&service), Published { hosts, port: 4443 });
    service["status"] = json!({});
    assert_eq!(published(&service).hosts, ["192.0.2.7"]);
}

#[test]
fn selectors_are_written_as_the_api_takes_them() {
    let mut selector = Selector::default();
    assert_eq!(selector_text(&selector), None);
    selector.match_labels.insert("a".into(), "b".into());
    let values = vec!["x".to_owned(), "y".to_owned()];
    selector.match_expressions.push(crate::model::Expression {
        key: "c".into(),
        operator: "In".into(),
        values,
    });
    assert_eq!(selector_text(&selector).as_deref(), Some("a=b,c in (x,y)"));
}

#[tokio::test]
async fn literal_addresses_need_no_resolver() {
    let hosts = ["198.18.2.11".to_owned(), "198.18.2.10".to_owned(), "198.18.2.11".to_owned()];
    let expected: Vec<IpAddr> = vec!["198.18.2.10".parse().unwrap(), "198.18.2.11".parse().unwrap()];
    assert_eq!(resolve(&hosts).await, expected);
}
