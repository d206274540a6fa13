use super::*;

#[test]
fn kernels_are_read_as_distributions_write_them() {
    for (text, wanted) in [
        ("6.1.0-28-amd64", Some((6, 1))),
        ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
        ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
        ("3.10.0", Some((3, 10))),
        ("none", None),
    ] {
        assert_eq!(kernel(text), wanted, "{text}");
    }
}

#[test]
fn every_kind_of_the_charts_is_asked_about() {
    let kinds: Vec<&str> = kinds("linkerd").iter().map(|k| k.name()).collect();
    let wanted = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "MutatingWebhookConfiguration",
        "Namespace",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(kinds, wanted);
}

/// The pod that is tried is what the injector makes.
#[test]
fn the_trial_has_the_init_container_of_the_chart() {
    let values = with_certificates(Chart::ControlPlane.default_values().unwrap());
    let documents = Chart::ControlPlane.render("linkerd", &values).unwrap();
    let manifests = crate::manifest::parse(documents).unwrap();
    let deployment = manifests.iter().find(|m| m.object["kind"] == "Deployment").unwrap();
    let mut wanted =
        deployment.object["spec"]["template"]["spec"]["initContainers"][0]["securityContext"].clone();
    for implied in ["privileged", "runAsGroup", "runAsNonRoot"] {
        wanted.as_object_mut().unwrap().remove(implied);
    }
    assert_eq!(trial()["spec"]["initContainers"][0]["securityContext"], wanted);
}
