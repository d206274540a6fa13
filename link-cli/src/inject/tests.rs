use super::*;
use proptest::prelude::*;
use serde_json::Map;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "x", "ports": [{"containerPort": 80}]}]},
        }},
    })
}

fn first_shape(document: &mut Value) -> Option<Shape> {
    let mut found = None;
    kinds::each(document, &mut |_, shape| found = Some(shape));
    found
}

#[test]
fn annotations_go_to_the_pod_template_and_settings_with_them() {
    let mut object = deployment();
    let settings: Annotations = [("config.linkerd.io/proxy-log-level".to_owned(), "debug".to_owned())].into();
    let shape = first_shape(&mut object).unwrap();
    assert_eq!(annotate(&mut object, shape, &settings, false), "");
    let map = &object["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(map["linkerd.io/inject"], "enabled");
    assert_eq!(map["config.linkerd.io/proxy-log-level"], "debug");
    assert_eq!(object["metadata"].get("annotations"), None);
}

#[test]
fn services_get_opaque_ports_only_and_namespaces_the_annotation() {
    let settings: Annotations = [
        ("config.linkerd.io/opaque-ports".to_owned(), "25".to_owned()),
        ("config.linkerd.io/proxy-log-level".to_owned(), "debug".to_owned()),
    ]
    .into();
    let mut service = json!({"kind": "Service", "metadata": {"name": "s"}});
    annotate(&mut service, Shape::Annotated, &settings, false);
    assert_eq!(service["metadata"]["annotations"], json!({"config.linkerd.io/opaque-ports": "25"}));
    let mut namespace = json!({"kind": "Namespace", "metadata": {"name": "n"}});
    annotate(&mut namespace, Shape::Annotated, &Annotations::new(), false);
    assert_eq!(namespace["metadata"]["annotations"], json!({"linkerd.io/inject": "enabled"}));
}

fn how(values: Option<Values>) -> How {
    How { values, annotations: Annotations::new(), ingress: false, control_plane_namespace: "linkerd".into() }
}

fn classic() -> Values {
    let mut values = Values::default();
    values.proxy.native_sidecar = false;
    values
}

#[test]
fn injecting_by_hand_twice_is_injecting_once() {
    let mut once = deployment();
    // Opaque by default, which the injection writes down; that must not be taken for a setting of the workload.
    once["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 3306}]);
    let outcomes = put_in(&mut once, &how(Some(Values::default())));
    assert_eq!(outcomes, [("deployment/web".to_owned(), Ok(String::new()))]);
    let labels = &once["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["linkerd.io/proxy-deployment"], "web");
    let mut twice = once.clone();
    put_in(&mut twice, &how(Some(Values::default())));
    assert_eq!(twice, once);
}

#[test]
fn what_is_not_or_only_partly_meshed_is_told() {
    let note = |change: fn(&mut Value)| {
        let mut object = deployment();
        change(&mut object["spec"]["template"]);
        put_in(&mut object, &how(None)).remove(0).1.unwrap()
    };
    assert!(note(|pod| pod["spec"]["hostNetwork"] = true.into()).contains("node's network"));
    assert!(
        note(|pod| pod["metadata"]["annotations"] = json!({INJECT: "disabled"})).contains("stays unmeshed")
    );
    let udp = json!([{"containerPort": 53, "protocol": "UDP"}]);
    let mut dns = deployment();
    dns["spec"]["template"]["spec"]["containers"][0]["ports"] = udp;
    assert!(put_in(&mut dns, &how(Some(classic())))[0].1.as_ref().unwrap().contains("UDP"));
}

#[test]
fn a_url_is_refused_with_the_way_to_do_it() {
    let error = documents(Path::new("https://run.example/emojivoto.yml")).unwrap_err().to_string();
    assert!(error.contains("https://run.example/emojivoto.yml"), "{error}");
}

#[test]
fn what_was_uninjected_asks_for_no_injection_whatever_it_asked_for_before() {
    let mut object = deployment();
    object["spec"]["template"]["metadata"]["annotations"] = json!({INJECT: "enabled"});
    let mut ingress = how(None);
    ingress.ingress = true;
    put_in(&mut object, &ingress);
    take_out(&mut object);
    assert_eq!(object, deployment());
}

/// Empty maps and lists mean the same as none.
fn without_empties(value: Value) -> Value {
    let empty = |v: &Value| match v {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        other => other.is_null(),
    };
    match value {
        Value::Object(map) => {
            map.into_iter().map(|(k, v)| (k, without_empties(v))).filter(|(_, v)| !empty(v)).collect()
        }
        Value::Array(list) => list.into_iter().map(without_empties).collect(),
        other => other,
    }
}

/// Annotations that people have before they inject: none, some of their own, some settings of the mesh.
fn annotations() -> impl Strategy<Value = Value> {
    let pairs = [
        ("team", "shop"),
        ("kubectl.kubernetes.io/default-container", "web"),
        ("config.linkerd.io/opaque-ports", "3306"),
        ("config.linkerd.io/skip-outbound-ports", "443"),
        ("config.alpha.linkerd.io/proxy-wait-before-exit-seconds", "5"),
    ];
    let some = proptest::sample::subsequence(pairs.to_vec(), 0..=pairs.len());
    let map =
        some.prop_map(|s| s.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect::<Map<_, _>>().into());
    prop_oneof![Just(Value::Null), Just(json!({})), map]
}

fn template() -> impl Strategy<Value = Value> {
    let lists =
        prop_oneof![Just(Value::Null), Just(json!([])), Just(json!([{"name": "data", "emptyDir": {}}]))];
    let inits =
        prop_oneof![Just(Value::Null), Just(json!([])), Just(json!([{"name": "migrate", "image": "m"}]))];
    let labels = prop_oneof![Just(Value::Null), Just(json!({})), Just(json!({"app": "web"}))];
    let ports = prop_oneof![
        Just(json!([])),
        Just(json!([{"containerPort": 3306}, {"containerPort": 53, "protocol": "UDP"}]))
    ];
    (annotations(), labels, inits, lists, ports).prop_map(|(annotations, labels, inits, volumes, ports)| {
        let containers =
            json!([{"name": "web", "image": "x", "ports": ports}, {"name": "log", "image": "y"}]);
        let spec = json!({"containers": containers, "initContainers": inits, "volumes": volumes});
        json!({"metadata": {"annotations": annotations, "labels": labels}, "spec": spec})
    })
}

/// Every kind that concerns injection, and some that do not.
fn object() -> impl Strategy<Value = Value> {
    let kinds = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "Pod",
        "ReplicaSet",
        "ReplicationController",
        "Namespace",
        "Service",
        "ConfigMap",
    ];
    (proptest::sample::select(kinds.to_vec()), template(), annotations()).prop_map(
        |(kind, pod, annotations)| {
            let mut object = json!({"kind": kind, "metadata": {"name": "web", "annotations": annotations}});
            match kind {
                "Pod" => {
                    object["metadata"]["annotations"] = pod["metadata"]["annotations"].clone();
                    object["spec"] = pod["spec"].clone();
                }
                "CronJob" => object["spec"]["jobTemplate"]["spec"]["template"] = pod,
                "Namespace" | "ConfigMap" => {}
                "Service" => object["spec"] = json!({"ports": [{"port": 3306}]}),
                _ => object["spec"]["template"] = pod,
            }
            object
        },
    )
}

fn document() -> impl Strategy<Value = Value> {
    let list = proptest::collection::vec(object(), 0..4);
    prop_oneof![object(), list.prop_map(|items| json!({"kind": "List", "items": items}))]
}

proptest! {
    #[test]
    fn uninject_is_the_inverse_of_inject(before in document(), way in 0usize..3, opaque: bool, ingress: bool) {
        let mut how = how([None, Some(Values::default()), Some(classic())].into_iter().nth(way).unwrap());
        how.ingress = ingress;
        if opaque {
            how.annotations.insert(OPAQUE_PORTS.to_owned(), "25".to_owned());
        }
        let mut document = before.clone();
        for (name, outcome) in put_in(&mut document, &how) {
            prop_assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
        let injected = document.clone();
        take_out(&mut document);
        prop_assert_eq!(without_empties(document), without_empties(before.clone()), "by way of {}", injected);
        // Injecting anew in between changes nothing of that.
        let mut again = injected;
        put_in(&mut again, &how);
        take_out(&mut again);
        prop_assert_eq!(without_empties(again), without_empties(before));
    }
}

#[test]
fn lists_are_walked_and_other_kinds_left_alone() {
    let mut list =
        json!({"kind": "List", "items": [deployment(), {"kind": "ConfigMap", "metadata": {"name": "c"}}]});
    let mut names = Vec::new();
    kinds::each(&mut list, &mut |object, _| names.push(kinds::name_of(object)));
    assert_eq!(names, ["deployment/web"]);
}
