//! The built-in kinds, one line each.

use super::{ResourceDef, STORED_VERBS, SubresourceDef};

const STATUS: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const STREAM: &[&str] = &["create", "get"];

struct Row {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    /// Subresources by name; `status` and `scale` are known, the rest are the pods' and service accounts' own.
    sub: &'static [&'static str],
    verbs: &'static [&'static str],
}

const fn row(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    sub: &'static [&'static str],
) -> Row {
    Row {
        group,
        versions: &["v1"],
        kind,
        plural,
        short,
        categories: &[],
        namespaced,
        sub,
        verbs: STORED_VERBS,
    }
}

const fn review(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Row {
    Row { verbs: CREATE, ..row(group, kind, plural, &[], namespaced, &[]) }
}

const fn all_category(row: Row) -> Row {
    Row { categories: &["all"], ..row }
}

const APPS: &str = "apps";
const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const SCALE: &[&str] = &["scale", "status"];
const POD_SUB: &[&str] = &["attach", "binding", "eviction", "exec", "log", "portforward", "status"];

const ROWS: &[Row] = &[
    row("", "ConfigMap", "configmaps", &["cm"], true, &[]),
    row("", "Endpoints", "endpoints", &["ep"], true, &[]),
    row("", "Event", "events", &["ev"], true, &[]),
    row("", "LimitRange", "limitranges", &["limits"], true, &[]),
    row("", "Namespace", "namespaces", &["ns"], false, &["finalize", "status"]),
    row("", "Node", "nodes", &["no"], false, &["status"]),
    row("", "PersistentVolume", "persistentvolumes", &["pv"], false, &["status"]),
    row("", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], true, &["status"]),
    all_category(row("", "Pod", "pods", &["po"], true, POD_SUB)),
    row("", "PodTemplate", "podtemplates", &[], true, &[]),
    all_category(row("", "ReplicationController", "replicationcontrollers", &["rc"], true, SCALE)),
    row("", "ResourceQuota", "resourcequotas", &["quota"], true, &["status"]),
    row("", "Secret", "secrets", &[], true, &[]),
    row("", "ServiceAccount", "serviceaccounts", &["sa"], true, &["token"]),
    all_category(row("", "Service", "services", &["svc"], true, &["status"])),
    row(APPS, "ControllerRevision", "controllerrevisions", &[], true, &[]),
    all_category(row(APPS, "DaemonSet", "daemonsets", &["ds"], true, &["status"])),
    all_category(row(APPS, "Deployment", "deployments", &["deploy"], true, SCALE)),
    all_category(row(APPS, "ReplicaSet", "replicasets", &["rs"], true, SCALE)),
    all_category(row(APPS, "StatefulSet", "statefulsets", &["sts"], true, SCALE)),
    all_category(row("batch", "CronJob", "cronjobs", &["cj"], true, &["status"])),
    all_category(row("batch", "Job", "jobs", &[], true, &["status"])),
    all_category(Row {
        versions: &["v2"],
        ..row(
            "autoscaling",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            &["hpa"],
            true,
            &["status"],
        )
    }),
    row("policy", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], true, &["status"]),
    row(RBAC, "ClusterRole", "clusterroles", &[], false, &[]),
    row(RBAC, "ClusterRoleBinding", "clusterrolebindings", &[], false, &[]),
    row(RBAC, "Role", "roles", &[], true, &[]),
    row(RBAC, "RoleBinding", "rolebindings", &[], true, &[]),
    row(NETWORKING, "Ingress", "ingresses", &["ing"], true, &["status"]),
    row(NETWORKING, "IngressClass", "ingressclasses", &[], false, &[]),
    row(NETWORKING, "NetworkPolicy", "networkpolicies", &["netpol"], true, &[]),
    row("coordination.k8s.io", "Lease", "leases", &[], true, &[]),
    row("discovery.k8s.io", "EndpointSlice", "endpointslices", &[], true, &[]),
    row("events.k8s.io", "Event", "events", &["ev"], true, &[]),
    row(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &[], false, &[]),
    row(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &[], false, &[]),
    Row {
        categories: &["api-extensions"],
        ..row(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            &["crd", "crds"],
            false,
            &["status"],
        )
    },
    Row {
        categories: &["api-extensions"],
        ..row("apiregistration.k8s.io", "APIService", "apiservices", &[], false, &["status"])
    },
    row(STORAGE, "StorageClass", "storageclasses", &["sc"], false, &[]),
    row(STORAGE, "CSIDriver", "csidrivers", &[], false, &[]),
    row(STORAGE, "CSINode", "csinodes", &[], false, &[]),
    row("scheduling.k8s.io", "PriorityClass", "priorityclasses", &["pc"], false, &[]),
    row("node.k8s.io", "RuntimeClass", "runtimeclasses", &[], false, &[]),
    review(AUTHN, "TokenReview", "tokenreviews", false),
    review(AUTHN, "SelfSubjectReview", "selfsubjectreviews", false),
    review(AUTHZ, "SubjectAccessReview", "subjectaccessreviews", false),
    review(AUTHZ, "SelfSubjectAccessReview", "selfsubjectaccessreviews", false),
    review(AUTHZ, "SelfSubjectRulesReview", "selfsubjectrulesreviews", false),
    review(AUTHZ, "LocalSubjectAccessReview", "localsubjectaccessreviews", true),
];

pub(super) fn all() -> Vec<ResourceDef> {
    ROWS.iter().map(definition).collect()
}

fn definition(row: &Row) -> ResourceDef {
    ResourceDef {
        group: row.group.to_owned(),
        versions: row.versions.iter().map(|v| (*v).to_owned()).collect(),
        storage_version: row.versions.first().map_or("v1", |v| v).to_owned(),
        kind: row.kind.to_owned(),
        list_kind: if row.kind == "Endpoints" { "EndpointsList".into() } else { format!("{}List", row.kind) },
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: row.short.iter().map(|s| (*s).to_owned()).collect(),
        categories: row.categories.iter().map(|s| (*s).to_owned()).collect(),
        namespaced: row.namespaced,
        verbs: row.verbs,
        subresources: row.sub.iter().map(|name| subresource(row, name)).collect(),
        custom: None,
    }
}

fn subresource(row: &Row, name: &str) -> SubresourceDef {
    let (kind, group, version, verbs): (&str, &str, &str, &'static [&'static str]) = match name {
        "scale" => ("Scale", "autoscaling", "v1", STATUS),
        "token" => ("TokenRequest", AUTHN, "v1", CREATE),
        "binding" => ("Binding", "", "v1", CREATE),
        "eviction" => ("Eviction", "policy", "v1", CREATE),
        "exec" => ("PodExecOptions", "", "", STREAM),
        "attach" => ("PodAttachOptions", "", "", STREAM),
        "portforward" => ("PodPortForwardOptions", "", "", STREAM),
        "log" => (row.kind, "", "", &["get"]),
        "finalize" => (row.kind, "", "", &["update"]),
        _ => (row.kind, "", "", STATUS),
    };
    SubresourceDef {
        name: name.into(),
        kind: kind.into(),
        group: group.into(),
        version: version.into(),
        verbs,
    }
}
