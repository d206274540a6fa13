use super::quantity::parse as parse_quantity;
use super::{create, decode, default, prune_unknown, update};
use proptest::prelude::*;
use serde_json::{Value, json};

fn made(api_version: &str, kind: &str, mut rest: Value) -> Value {
    rest["apiVersion"] = json!(api_version);
    rest["kind"] = json!(kind);
    if rest["metadata"].is_null() {
        rest["metadata"] = json!({"name": "it", "namespace": "shop"});
    }
    default(api_version, kind, &mut rest);
    rest
}

fn errors(object: &Value) -> Vec<String> {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let namespaced = object["metadata"]["namespace"].is_string();
    create(api_version, kind, namespaced, object).iter().map(ToString::to_string).collect()
}

fn pod(spec: Value) -> Value {
    made("v1", "Pod", json!({"spec": spec}))
}

fn deployment() -> Value {
    made(
        "apps/v1",
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}}),
    )
}

#[test]
fn pods_get_the_defaults_of_a_real_server() {
    let pod = pod(json!({
        "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "resources": {"limits": {"cpu": "1"}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            {"name": "b", "image": "r/x:1"}],
        "volumes": [{"name": "tmp"}, {"name": "s", "secret": {"secretName": "s"}},
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    }));
    assert_eq!(errors(&pod), Vec::<String>::new());
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    let a = &spec["containers"][0];
    assert_eq!(a["imagePullPolicy"], "Always");
    assert_eq!(a["ports"][0]["protocol"], "TCP");
    assert_eq!(a["resources"]["requests"]["cpu"], "1");
    let probe = json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3});
    assert_eq!(a["readinessProbe"], probe);
    assert_eq!(a["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(spec["containers"][1]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
    assert_eq!(
        spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3600
    );
}

#[test]
fn wrong_pods_name_every_field() {
    let wrong = pod(json!({
        "restartPolicy": "Sometimes",
        "containers": [
            {"name": "A_B", "image": "x"},
            {"name": "b", "ports": [{"containerPort": 70000, "name": "UPPER"}],
                "volumeMounts": [{"name": "nope", "mountPath": "/x"}],
                "livenessProbe": {"periodSeconds": -1}},
            {"name": "b", "image": "x", "env": [{"value": "1"}],
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
        ],
    }));
    let all = errors(&wrong);
    for expected in [
        "spec.containers[0].name: Invalid value: \"A_B\": a lowercase RFC 1123 label",
        "spec.containers[1].image: Required value",
        "spec.containers[1].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "spec.containers[1].ports[0].name: Invalid value: \"UPPER\": must contain only",
        "spec.containers[1].volumeMounts[0].name: Not found: \"nope\"",
        "spec.containers[1].livenessProbe: Required value: must specify a handler type",
        "spec.containers[1].livenessProbe.periodSeconds: Invalid value: -1",
        "spec.containers[2].name: Duplicate value: \"b\"",
        "spec.containers[2].env[0].name: Required value",
        "spec.containers[2].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
    ] {
        assert!(all.iter().any(|e| e.starts_with(expected)), "{expected} not in {all:#?}");
    }
}

#[test]
fn a_pod_may_change_its_image_and_get_its_node_and_nothing_else() {
    let old = pod(json!({"containers": [{"name": "a", "image": "x:1"}]}));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("x:2");
    new["spec"]["nodeName"] = json!("node");
    assert!(update("v1", "Pod", &old, &new).is_empty());
    new["spec"]["hostNetwork"] = json!(true);
    assert_eq!(update("v1", "Pod", &old, &new)[0].reason, "FieldValueForbidden");
}

#[test]
fn deployments_need_a_selector_that_matches_and_never_changes() {
    let right = deployment();
    assert_eq!(errors(&right), Vec::<String>::new());
    assert_eq!(right["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(
        (&right["spec"]["revisionHistoryLimit"], &right["spec"]["progressDeadlineSeconds"]),
        (&json!(10), &json!(600))
    );
    let mut wrong = right.clone();
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    wrong["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    assert_eq!(
        errors(&wrong),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ]
    );
    let mut changed = right.clone();
    changed["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    assert!(update("apps/v1", "Deployment", &right, &changed).iter().any(|e| e.field == "spec.selector"));
}

#[test]
fn services_are_defaulted_and_checked() {
    let service = made("v1", "Service", json!({"spec": {"ports": [{"port": 80}], "type": "LoadBalancer"}}));
    assert_eq!(errors(&service), Vec::<String>::new());
    let spec = &service["spec"];
    assert_eq!(spec["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    assert_eq!(spec["sessionAffinity"], "None");
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    let wrong = made(
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 0}, {"port": 80, "name": "a", "targetPort": "B"}]}}),
    );
    let fields: Vec<_> = create("v1", "Service", true, &wrong).into_iter().map(|e| e.field).collect();
    assert_eq!(
        fields,
        ["spec.ports[0].name", "spec.ports[0].port", "spec.ports[0].targetPort", "spec.ports[1].targetPort"]
    );
    let (mut old, mut new) = (service.clone(), service);
    old["spec"]["clusterIP"] = json!("10.43.0.5");
    new["spec"]["clusterIP"] = json!("10.43.0.6");
    assert_eq!(update("v1", "Service", &old, &new)[0].field, "spec.clusterIPs[0]");
}

#[test]
fn names_follow_their_kind() {
    let named = |api_version: &str, kind: &str, name: &str| {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "a"},
            "rules": [], "spec": {"ports": [{"port": 1, "protocol": "TCP", "targetPort": 1}], "type": "ClusterIP", "sessionAffinity": "None"}});
        errors(&object).is_empty()
    };
    assert!(named("v1", "ConfigMap", "a.b-c") && !named("v1", "ConfigMap", "A"));
    assert!(!named("v1", "ConfigMap", ""));
    assert!(
        named("v1", "Service", "web") && !named("v1", "Service", "1web") && !named("v1", "Service", "a.b")
    );
    assert!(
        named("rbac.authorization.k8s.io/v1", "Role", "system:Any")
            && !named("rbac.authorization.k8s.io/v1", "Role", "a/b")
    );
}

#[test]
fn labels_and_annotations_are_checked_on_every_kind() {
    let object = json!({"metadata": {"name": "a", "namespace": "a", "labels": {"a b": "x", "ok": "not ok"},
        "annotations": {"/": "x"}, "ownerReferences": [{}]}});
    let fields: Vec<_> =
        create("example.com/v1", "Widget", true, &object).into_iter().map(|e| e.field).collect();
    assert_eq!(fields.iter().filter(|f| *f == "metadata.labels").count(), 2);
    assert!(fields.contains(&"metadata.annotations".into()));
    assert!(fields.contains(&"metadata.ownerReferences.uid".into()));
}

#[test]
fn secrets_take_plain_text_and_immutable_data_stays() {
    let secret = made("v1", "Secret", json!({"stringData": {"a": "hi"}, "immutable": true}));
    assert_eq!(secret["data"]["a"], "aGk=");
    assert_eq!(secret["type"], "Opaque");
    assert!(secret.get("stringData").is_none());
    let mut new = secret.clone();
    new["data"]["a"] = json!("eA==");
    assert_eq!(update("v1", "Secret", &secret, &new)[0].field, "data");
    let tls = made("v1", "Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}));
    assert_eq!(errors(&tls), ["data[tls.key]: Required value"]);
}

#[test]
fn unknown_fields_are_found_and_pruned_with_nulls() {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "creationTimestamp": null, "nme": 1},
        "spec": {"containers": [{"name": "a", "imag": "x"}], "replicas": 1}});
    let expected = ["metadata.nme", "spec.containers[0].imag", "spec.replicas"];
    assert_eq!(prune_unknown("v1", "Pod", &mut pod), expected);
    assert_eq!(pod["metadata"], json!({"name": "a"}));
    assert_eq!(pod["spec"], json!({"containers": [{"name": "a"}]}));
    assert_eq!(prune_unknown("v1", "Pod", &mut pod), Vec::<String>::new());
}

#[test]
fn wrong_types_are_a_bad_request_naming_the_field() {
    let mut wrong = deployment();
    wrong["spec"]["replicas"] = json!("three");
    let error = decode("apps/v1", "Deployment", &wrong).unwrap_err();
    assert_eq!(error.code().as_u16(), 400);
    assert_eq!(
        error.to_string(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field \
         spec.replicas of type int32"
    );
    assert!(decode("apps/v1", "Deployment", &deployment()).is_ok());
    assert!(decode("v1", "Secret", &json!({"data": {"a": "***"}})).is_err());
    assert!(decode("v1", "ConfigMap", &json!({"data": {"a": 1}})).is_err());
}

#[test]
fn roles_bindings_slices_leases_and_webhooks_are_checked() {
    let role =
        made("rbac.authorization.k8s.io/v1", "Role", json!({"rules": [{"verbs": [], "resources": ["x"]}]}));
    assert_eq!(errors(&role).len(), 2);
    let binding = made(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Group", "name": "g"}]}),
    );
    assert_eq!(errors(&binding), Vec::<String>::new());
    let mut moved = binding.clone();
    moved["roleRef"]["name"] = json!("other");
    assert_eq!(update("rbac.authorization.k8s.io/v1", "RoleBinding", &binding, &moved)[0].field, "roleRef");
    let slice = made(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}], "ports": [{"port": 1}]}),
    );
    assert_eq!(
        errors(&slice),
        ["endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"]
    );
    let lease = made("coordination.k8s.io/v1", "Lease", json!({"spec": {"leaseDurationSeconds": 0}}));
    assert_eq!(errors(&lease).len(), 1);
    let released = json!({"spec": {"holderIdentity": "", "preferredHolder": "a"}});
    let released = made("coordination.k8s.io/v1", "Lease", released);
    assert_eq!(
        errors(&released),
        ["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"]
    );
    let hook = json!({"metadata": {"name": "h"}, "webhooks": [{"name": "a.b.c", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
    let hook = made("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", hook);
    assert_eq!(errors(&hook), Vec::<String>::new());
    assert_eq!(hook["webhooks"][0]["failurePolicy"], "Fail");
    assert_eq!(hook["webhooks"][0]["clientConfig"]["service"]["port"], 443);
}

#[test]
fn quantities_compare_across_units() {
    assert_eq!(parse_quantity("500m"), Some(500));
    assert_eq!(parse_quantity("1"), parse_quantity("1000m"));
    assert_eq!(parse_quantity("1Ki"), Some(1_024_000));
    assert_eq!(parse_quantity("1.5Gi"), parse_quantity("1536Mi"));
    assert_eq!(parse_quantity("2e3"), parse_quantity("2k"));
    for bad in ["", "x", "1x", "1..2", "--1", ".", "1 Gi"] {
        assert_eq!(parse_quantity(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn defaulting_settles(image in "[a-z]{1,4}(:[a-z0-9]{1,3})?", port in 1..65535_i64) {
        let once = pod(json!({"containers": [{"name": "a", "image": image, "ports": [{"containerPort": port}]}]}));
        let mut twice = once.clone();
        default("v1", "Pod", &mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(prune_unknown("v1", "Pod", &mut twice), Vec::<String>::new());
    }

    #[test]
    fn quantities_never_panic(text in "\\PC{0,12}") {
        let _ = parse_quantity(&text);
    }
}
