use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "x", "ports": [{"containerPort": 80}]}]},
        }},
    })
}

fn globals() -> Globals {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        globals: Globals,
    }
    <Line as clap::Parser>::parse_from(["x"]).globals
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

#[test]
fn uninject_undoes_manual_injection_and_injecting_twice_is_injecting_once() {
    let before = deployment();
    let mut once = before.clone();
    let inject = |object: &mut Value| {
        manually(object, "/spec/template", &Values::default(), &Annotations::new(), &globals(), false)
            .unwrap()
    };
    assert_eq!(inject(&mut once), "");
    let labels = &once["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["linkerd.io/proxy-deployment"], "web");
    let mut twice = once.clone();
    inject(&mut twice);
    assert_eq!(twice, once);
    kinds::strip(once.pointer_mut("/spec/template").unwrap());
    assert_eq!(once, before);
}

#[test]
fn lists_are_walked_and_other_kinds_left_alone() {
    let mut list =
        json!({"kind": "List", "items": [deployment(), {"kind": "ConfigMap", "metadata": {"name": "c"}}]});
    let mut names = Vec::new();
    kinds::each(&mut list, &mut |object, _| names.push(kinds::name_of(object)));
    assert_eq!(names, ["deployment/web"]);
}
