use super::*;
use crate::controllers::testing::{pod_of, ready, replica_set, world};

fn service(ports: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "shop", "name": "web", "uid": "svc", "labels": { "team": "a" } },
        "spec": { "clusterIP": "10.43.0.20", "selector": { "app": "web" }, "ports": ports },
    })
}

fn http() -> Value {
    json!([{ "name": "http", "port": 80, "targetPort": "http", "appProtocol": "http" }])
}

fn created(plan: &Plan, kind: Kind) -> Vec<&Value> {
    let of_kind = |action: &'_ Action| matches!(action, Action::Create(created, _) if *created == kind);
    plan.actions
        .iter()
        .filter(|action| of_kind(action))
        .map(|action| match action {
            Action::Create(_, object) => object,
            _ => unreachable!(),
        })
        .collect()
}

#[test]
fn ready_serving_and_terminating_follow_the_pod() {
    let (service, set) = (service(http()), replica_set("web-1", 3, None));
    let (good, waiting) = (ready(pod_of(&set, "a")), pod_of(&set, "b"));
    let mut leaving = ready(pod_of(&set, "c"));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let world =
        world(&[(Kind::Service, &service), (Kind::Pod, &good), (Kind::Pod, &waiting), (Kind::Pod, &leaving)]);
    let plan = plan(&world, &Key::of(&service));
    let slices = created(&plan, Kind::EndpointSlice);
    let conditions: Vec<_> =
        slices[0]["endpoints"].as_array().unwrap().iter().map(|at| at["conditions"].clone()).collect();
    assert_eq!(
        conditions,
        [
            json!({ "ready": true, "serving": true, "terminating": false }),
            json!({ "ready": false, "serving": false, "terminating": false }),
            json!({ "ready": false, "serving": true, "terminating": true }),
        ]
    );
    assert_eq!(
        slices[0]["ports"],
        json!([{ "name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http" }])
    );
    assert_eq!(slices[0]["metadata"]["labels"]["team"], "a");
    let legacy = created(&plan, Kind::Endpoints);
    assert_eq!(legacy[0]["subsets"][0]["addresses"].as_array().unwrap().len(), 1);
    assert_eq!(legacy[0]["subsets"][0]["notReadyAddresses"].as_array().unwrap().len(), 1);
}

#[test]
fn a_settled_service_plans_nothing() {
    let (service, set) = (service(http()), replica_set("web-1", 1, None));
    let pod = ready(pod_of(&set, "a"));
    let first = plan(&world(&[(Kind::Service, &service), (Kind::Pod, &pod)]), &Key::of(&service));
    let slice = created(&first, Kind::EndpointSlice)[0];
    let legacy = created(&first, Kind::Endpoints)[0];
    let objects = [
        (Kind::Service, &service),
        (Kind::Pod, &pod),
        (Kind::EndpointSlice, slice),
        (Kind::Endpoints, legacy),
    ];
    assert_eq!(plan(&world(&objects), &Key::of(&service)), Plan::default());
}

#[test]
fn a_service_without_pods_has_one_empty_slice_which_is_reused() {
    let (service, set) = (service(http()), replica_set("web-1", 1, None));
    let empty = plan(&world(&[(Kind::Service, &service)]), &Key::of(&service));
    let slice = created(&empty, Kind::EndpointSlice)[0];
    assert_eq!(slice["endpoints"], json!([]));
    let pod = ready(pod_of(&set, "a"));
    let world = world(&[(Kind::Service, &service), (Kind::EndpointSlice, slice), (Kind::Pod, &pod)]);
    let filled = plan(&world, &Key::of(&service));
    assert!(created(&filled, Kind::EndpointSlice).is_empty());
    assert!(filled.actions.iter().any(
        |action| matches!(action, Action::Patch(Kind::EndpointSlice, key, _) if *key == Key::of(slice))
    ));
}

#[test]
fn pods_that_name_another_port_number_get_a_slice_of_their_own() {
    let (service, set) = (service(http()), replica_set("web-1", 2, None));
    let (one, mut other) = (ready(pod_of(&set, "a")), ready(pod_of(&set, "b")));
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    let world = world(&[(Kind::Service, &service), (Kind::Pod, &one), (Kind::Pod, &other)]);
    let plan = plan(&world, &Key::of(&service));
    let ports: Vec<_> =
        created(&plan, Kind::EndpointSlice).iter().map(|slice| slice["ports"][0]["port"].clone()).collect();
    assert_eq!(ports.len(), 2);
    assert!(ports.contains(&json!(8080)) && ports.contains(&json!(9090)));
}

#[test]
fn headless_members_keep_their_host_names_and_slices_of_others_are_left_alone() {
    let mut service = service(json!([{ "port": 80 }]));
    service["spec"]["clusterIP"] = json!("None");
    let set = replica_set("web-1", 1, None);
    let mut pod = pod_of(&set, "a");
    pod["spec"]["hostname"] = json!("zero");
    pod["spec"]["subdomain"] = json!("web");
    service["spec"]["publishNotReadyAddresses"] = json!(true);
    let foreign = json!({ "metadata": { "namespace": "shop", "name": "x", "uid": "x",
        "labels": { MANAGED_BY: "mirror", SERVICE_NAME: "web" } } });
    let world = world(&[(Kind::Service, &service), (Kind::Pod, &pod), (Kind::EndpointSlice, &foreign)]);
    let plan = plan(&world, &Key::of(&service));
    let slice = created(&plan, Kind::EndpointSlice)[0];
    assert_eq!(slice["endpoints"][0]["hostname"], "zero");
    assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(slice["metadata"]["labels"][HEADLESS], "");
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Delete(..))));
}

#[test]
fn services_without_a_selector_are_left_alone() {
    let mut service = service(http());
    service["spec"]["selector"] = Value::Null;
    assert_eq!(plan(&world(&[(Kind::Service, &service)]), &Key::of(&service)), Plan::default());
}
