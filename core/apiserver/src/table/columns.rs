//! Which columns each built-in kind has.

use super::cells::{self, count, list, number, or_none, pairs, selector, text};
use super::pods;
use jiff::Timestamp;
use serde_json::{Value, json};

/// One column of a built-in kind.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// 1: shown only by `-o wide`.
    pub(super) priority: u8,
    pub(super) cell: fn(&Value, Timestamp) -> Value,
}

type Cell = fn(&Value, Timestamp) -> Value;

const fn column(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", priority: 0, cell }
}

const fn integer(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "integer", priority: 0, cell }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", priority: 1, cell }
}

const NAME: Column = column("Name", cells::name);
const AGE: Column = column("Age", cells::age);

/// The columns of a kind: its own, or name and age.
pub(super) fn of(group: &str, kind: &str) -> Vec<Column> {
    let own = match (group, kind) {
        ("", _) => core(kind),
        ("apps", _) => apps(kind),
        ("batch", _) => batch(kind),
        ("rbac.authorization.k8s.io", _) => rbac(kind),
        ("events.k8s.io", "Event") => events(),
        _ => others(kind),
    };
    own.unwrap_or_else(|| vec![NAME, if kind.ends_with("Role") { created() } else { AGE }])
}

fn created() -> Column {
    Column { kind: "date", ..column("Created At", |o, _| o["metadata"]["creationTimestamp"].clone()) }
}

fn core(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Pod" => vec![
            NAME,
            column("Ready", pods::ready),
            column("Status", pods::status),
            column("Restarts", pods::restarts),
            AGE,
            wide("IP", |o, _| or_none(&o["status"]["podIP"])),
            wide("Node", |o, _| or_none(&o["spec"]["nodeName"])),
            wide("Nominated Node", |o, _| or_none(&o["status"]["nominatedNodeName"])),
            wide("Readiness Gates", |o, _| match list(&o["spec"]["readinessGates"]).len() {
                0 => json!(cells::NONE),
                wanted => json!(format!("0/{wanted}")),
            }),
        ],
        "Service" => vec![
            NAME,
            column("Type", |o, _| o["spec"]["type"].clone()),
            column("Cluster-IP", |o, _| or_none(&o["spec"]["clusterIP"])),
            column("External-IP", cells::external_ip),
            column("Port(s)", cells::service_ports),
            AGE,
            wide("Selector", |o, _| pairs(&o["spec"]["selector"])),
        ],
        "Namespace" => vec![NAME, column("Status", |o, _| o["status"]["phase"].clone()), AGE],
        "Node" => node(),
        "Secret" => vec![
            NAME,
            column("Type", |o, _| o["type"].clone()),
            column("Data", |o, _| count(&o["data"])),
            AGE,
        ],
        "ConfigMap" => vec![
            NAME,
            column("Data", |o, _| {
                json!(
                    count(&o["data"]).as_u64().unwrap_or_default()
                        + count(&o["binaryData"]).as_u64().unwrap_or_default()
                )
            }),
            AGE,
        ],
        "ServiceAccount" => vec![NAME, column("Secrets", |o, _| count(&o["secrets"])), AGE],
        "Endpoints" => vec![NAME, column("Endpoints", cells::endpoints), AGE],
        "Event" => return events(),
        "ReplicationController" => replicas(),
        "PersistentVolumeClaim" => vec![
            NAME,
            column("Status", |o, _| o["status"]["phase"].clone()),
            column("Volume", |o, _| json!(text(&o["spec"]["volumeName"]))),
            AGE,
        ],
        _ => return None,
    })
}

fn node() -> Vec<Column> {
    vec![
        NAME,
        column("Status", cells::node_status),
        column("Roles", cells::node_roles),
        AGE,
        column("Version", |o, _| json!(text(&o["status"]["nodeInfo"]["kubeletVersion"]))),
        wide("Internal-IP", |o, _| cells::node_address(o, "InternalIP")),
        wide("External-IP", |o, _| cells::node_address(o, "ExternalIP")),
        wide("OS-Image", |o, _| cells::or_unknown(&o["status"]["nodeInfo"]["osImage"])),
        wide("Kernel-Version", |o, _| cells::or_unknown(&o["status"]["nodeInfo"]["kernelVersion"])),
        wide("Container-Runtime", |o, _| {
            cells::or_unknown(&o["status"]["nodeInfo"]["containerRuntimeVersion"])
        }),
    ]
}

fn events() -> Option<Vec<Column>> {
    Some(vec![
        column("Last Seen", cells::last_seen),
        column("Type", |o, _| o["type"].clone()),
        column("Reason", |o, _| o["reason"].clone()),
        column("Object", cells::event_object),
        wide("Subobject", |o, _| json!(text(&o["involvedObject"]["fieldPath"]))),
        wide("Source", cells::event_source),
        column("Message", cells::event_message),
        wide("First Seen", |o, now| {
            let first = if o["firstTimestamp"].is_string() { &o["firstTimestamp"] } else { &o["eventTime"] };
            json!(super::age::since(first, now))
        }),
        wide("Count", |o, _| json!(o["count"].as_i64().unwrap_or(1))),
        Column { name: "Name", kind: "string", priority: 1, cell: cells::name },
    ])
}

fn replicas() -> Vec<Column> {
    vec![
        NAME,
        integer("Desired", |o, _| number(&o["spec"]["replicas"])),
        integer("Current", |o, _| number(&o["status"]["replicas"])),
        integer("Ready", |o, _| number(&o["status"]["readyReplicas"])),
        AGE,
        wide("Containers", cells::container_names),
        wide("Images", cells::container_images),
        wide("Selector", |o, _| selector(&o["spec"]["selector"])),
    ]
}

fn apps(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Deployment" => vec![
            NAME,
            column("Ready", |o, _| {
                cells::ready_of_wanted(&o["status"]["readyReplicas"], &o["spec"]["replicas"])
            }),
            column("Up-to-date", |o, _| number(&o["status"]["updatedReplicas"])),
            column("Available", |o, _| number(&o["status"]["availableReplicas"])),
            AGE,
            wide("Containers", cells::container_names),
            wide("Images", cells::container_images),
            wide("Selector", |o, _| selector(&o["spec"]["selector"])),
        ],
        "ReplicaSet" => replicas(),
        "StatefulSet" => vec![
            NAME,
            column("Ready", |o, _| {
                cells::ready_of_wanted(&o["status"]["readyReplicas"], &o["spec"]["replicas"])
            }),
            AGE,
            wide("Containers", cells::container_names),
            wide("Images", cells::container_images),
        ],
        "DaemonSet" => vec![
            NAME,
            integer("Desired", |o, _| number(&o["status"]["desiredNumberScheduled"])),
            integer("Current", |o, _| number(&o["status"]["currentNumberScheduled"])),
            integer("Ready", |o, _| number(&o["status"]["numberReady"])),
            integer("Up-to-date", |o, _| number(&o["status"]["updatedNumberScheduled"])),
            integer("Available", |o, _| number(&o["status"]["numberAvailable"])),
            column("Node Selector", |o, _| pairs(&o["spec"]["template"]["spec"]["nodeSelector"])),
            AGE,
            wide("Containers", cells::container_names),
            wide("Images", cells::container_images),
            wide("Selector", |o, _| selector(&o["spec"]["selector"])),
        ],
        "ControllerRevision" => vec![
            NAME,
            column("Controller", cells::controller),
            column("Revision", |o, _| number(&o["revision"])),
            AGE,
        ],
        _ => return None,
    })
}

fn batch(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Job" => vec![
            NAME,
            column("Status", cells::job_status),
            column("Completions", cells::job_completions),
            column("Duration", cells::job_duration),
            AGE,
            wide("Containers", cells::container_names),
            wide("Images", cells::container_images),
            wide("Selector", |o, _| selector(&o["spec"]["selector"])),
        ],
        "CronJob" => vec![
            NAME,
            column("Schedule", |o, _| o["spec"]["schedule"].clone()),
            column("Timezone", |o, _| or_none(&o["spec"]["timeZone"])),
            Column { kind: "boolean", ..column("Suspend", cells::suspended) },
            integer("Active", |o, _| count(&o["status"]["active"])),
            column("Last Schedule", |o, now| match &o["status"]["lastScheduleTime"] {
                Value::Null => json!(cells::NONE),
                time => json!(super::age::since(time, now)),
            }),
            AGE,
            wide("Containers", |o, now| cells::container_names(&o["spec"]["jobTemplate"], now)),
            wide("Images", |o, now| cells::container_images(&o["spec"]["jobTemplate"], now)),
            wide("Selector", |o, _| selector(&o["spec"]["jobTemplate"]["spec"]["selector"])),
        ],
        _ => return None,
    })
}

fn rbac(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Role" | "ClusterRole" => vec![NAME, created()],
        "RoleBinding" | "ClusterRoleBinding" => vec![
            NAME,
            column("Role", cells::role_ref),
            AGE,
            wide("Users", |o, _| cells::subjects(o, "User")),
            wide("Groups", |o, _| cells::subjects(o, "Group")),
            wide("ServiceAccounts", |o, _| cells::subjects(o, "ServiceAccount")),
        ],
        _ => return None,
    })
}

fn others(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "EndpointSlice" => vec![
            NAME,
            column("AddressType", |o, _| o["addressType"].clone()),
            column("Ports", cells::slice_ports),
            column("Endpoints", cells::slice_endpoints),
            AGE,
        ],
        "Lease" => vec![NAME, column("Holder", |o, _| json!(text(&o["spec"]["holderIdentity"]))), AGE],
        "CustomResourceDefinition" => vec![NAME, created()],
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![NAME, integer("Webhooks", |o, _| count(&o["webhooks"])), AGE]
        }
        "NetworkPolicy" => {
            vec![NAME, column("Pod-Selector", |o, _| selector(&o["spec"]["podSelector"])), AGE]
        }
        "PodDisruptionBudget" => vec![
            NAME,
            column("Min Available", |o, _| amount(&o["spec"]["minAvailable"])),
            column("Max Unavailable", |o, _| amount(&o["spec"]["maxUnavailable"])),
            integer("Allowed Disruptions", |o, _| number(&o["status"]["disruptionsAllowed"])),
            AGE,
        ],
        "HorizontalPodAutoscaler" => vec![
            NAME,
            column("Reference", |o, _| {
                let target = &o["spec"]["scaleTargetRef"];
                json!(format!("{}/{}", text(&target["kind"]), text(&target["name"])))
            }),
            column("Targets", cells::scaling_targets),
            column("MinPods", |o, _| json!(o["spec"]["minReplicas"].as_i64().unwrap_or(1).to_string())),
            column("MaxPods", |o, _| number(&o["spec"]["maxReplicas"])),
            column("Replicas", |o, _| number(&o["status"]["currentReplicas"])),
            AGE,
        ],
        "Ingress" => vec![
            NAME,
            column("Class", |o, _| or_none(&o["spec"]["ingressClassName"])),
            column("Hosts", cells::ingress_hosts),
            column("Address", cells::ingress_addresses),
            column("Ports", |o, _| json!(if list(&o["spec"]["tls"]).is_empty() { "80" } else { "80, 443" })),
            AGE,
        ],
        "APIService" => vec![
            NAME,
            column("Service", |o, _| match &o["spec"]["service"] {
                Value::Null => json!("Local"),
                s => json!(format!("{}/{}", text(&s["namespace"]), text(&s["name"]))),
            }),
            AGE,
        ],
        _ => return None,
    })
}

fn amount(value: &Value) -> Value {
    match value {
        Value::Null => json!("N/A"),
        Value::String(_) => value.clone(),
        other => json!(other.to_string()),
    }
}
