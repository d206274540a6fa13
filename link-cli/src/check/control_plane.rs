//! The control plane's objects and pods.

use super::outcome::{Category, Verdict};
use super::{Context, until_well};
use crate::install_checks::CONFIG;
use ipnet::IpNet;
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount};
use mesh_kube::k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{self, Api};
use mesh_types::{VERSION, annotations, labels};
use serde_json::Value;
use std::fmt::Debug;
use std::net::IpAddr;

/// Components, and what their roles are called.
const COMPONENTS: [&str; 3] = ["identity", "destination", "proxy-injector"];

/// Whether the control plane is there and runs. Answers the installed values.
pub(super) async fn existence(context: &Context) -> (Category, Option<Value>) {
    let mut category = Category::new("linkerd-existence");
    let ns = &context.namespace;
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), ns);
    let fix = "install the control plane:  meshctl install --help   (-L names another namespace)";
    let (values, verdict) = match maps.get_opt(CONFIG).await {
        Err(error) => (None, Verdict::unanswered(&error)),
        Ok(None) => (None, Verdict::Error(format!("there is no ConfigMap {ns}/{CONFIG}"), fix.to_owned())),
        Ok(Some(map)) => {
            match serde_saphyr::from_str(map.data.unwrap_or_default().get("values").map_or("", |v| v)) {
                Ok(values) => (Some(values), Verdict::Good),
                Err(error) => {
                    let why = format!("ConfigMap {ns}/{CONFIG} holds no readable values: {error}");
                    (None, Verdict::Error(why, "run:  meshctl upgrade | kubectl apply -f -".to_owned()))
                }
            }
        }
    };
    if !category.add("l5d-existence-linkerd-config", format!("'{CONFIG}' config map exists"), verdict) {
        return (category, None);
    }
    let why = until_well(context, || not_ready(context)).await;
    let fix = format!("look at them:  kubectl -n {ns} get pods   and   kubectl -n {ns} describe pods");
    category.add("l5d-api-control-ready", "control plane pods are ready", Verdict::error_if(why, fix));
    (category, values)
}

/// Components without a ready pod.
async fn not_ready(context: &Context) -> Option<String> {
    let pods = match pods(context).await {
        Ok(pods) => pods,
        Err(error) => return Some(mesh_kube::explain(&error)),
    };
    let ready = |component: &&str| {
        pods.iter().any(|p| label(p, labels::CONTROL_PLANE_COMPONENT) == Some(*component) && is_ready(p))
    };
    let missing: Vec<String> =
        COMPONENTS.iter().filter(|c| !ready(c)).map(|c| format!("linkerd-{c}")).collect();
    (!missing.is_empty()).then(|| format!("no ready pod of {}", missing.join(", ")))
}

async fn pods(context: &Context) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let ours = ListParams::default().labels(labels::CONTROL_PLANE_COMPONENT);
    Ok(api.list(&ours).await?.items)
}

pub(super) fn label<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn annotation<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether every object that the control plane is made of is there.
pub(super) async fn objects(context: &Context) -> Category {
    let mut category = Category::new("linkerd-config");
    let (client, ns) = (&context.client, &context.namespace);
    let roles: Vec<String> = COMPONENTS.iter().map(|c| format!("linkerd-{ns}-{c}")).collect();
    let accounts: Vec<String> = COMPONENTS.iter().map(|c| format!("linkerd-{c}")).collect();
    let found = exist(Api::<ClusterRole>::all(client.clone()), &roles).await;
    category.add("l5d-existence-cr", "control plane ClusterRoles exist", found);
    let found = exist(Api::<ClusterRoleBinding>::all(client.clone()), &roles).await;
    category.add("l5d-existence-crb", "control plane ClusterRoleBindings exist", found);
    let found = exist(Api::<ServiceAccount>::namespaced(client.clone(), ns), &accounts).await;
    category.add("l5d-existence-sa", "control plane ServiceAccounts exist", found);
    let webhook = [mesh_injector::webhook::WEBHOOK_CONFIGURATION.to_owned()];
    let found = exist(Api::<MutatingWebhookConfiguration>::all(client.clone()), &webhook).await;
    category.add("l5d-existence-mwc", "control plane MutatingWebhookConfigurations exist", found);
    category
}

async fn exist<K>(api: Api<K>, names: &[String]) -> Verdict
where
    K: Clone + Debug + serde::de::DeserializeOwned,
{
    let mut missing = Vec::new();
    for name in names {
        match api.get_metadata_opt(name).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(name.as_str()),
            Err(error) => return Verdict::unanswered(&error),
        }
    }
    let why = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    Verdict::error_if(why, "put them back:  meshctl upgrade | kubectl apply -f -")
}

/// Whether `clusterNetworks` covers what the cluster uses; proxies treat other addresses as outside.
pub(super) async fn networks(context: &Context, values: &Value) -> Category {
    let mut category = Category::new("linkerd-cluster-networks");
    let fix = "set the value:  meshctl upgrade --set clusterNetworks='…' | kubectl apply -f -";
    let networks: Result<Vec<IpNet>, _> =
        values["clusterNetworks"].as_str().unwrap_or_default().split(',').map(|n| n.trim().parse()).collect();
    let Ok(networks) = networks else {
        let why = "clusterNetworks is not a list of networks".to_owned();
        category.add(
            "l5d-cluster-networks-cidr",
            "cluster networks are valid",
            Verdict::Error(why, fix.into()),
        );
        return category;
    };
    let covered = |ip: &IpAddr| networks.iter().any(|n| n.contains(ip));
    let verdict = match Api::<Node>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let cidrs = list.items.into_iter().filter_map(|n| n.spec?.pod_cidr?.parse::<IpNet>().ok());
            let outside: Vec<String> =
                cidrs.filter(|c| !networks.iter().any(|n| n.contains(c))).map(|c| c.to_string()).collect();
            Verdict::error_if(
                (!outside.is_empty()).then(|| format!("not covered: {}", outside.join(", "))),
                fix,
            )
        }
    };
    category.add("l5d-cluster-networks-cidr", "cluster networks contain all node podCIDRs", verdict);
    let verdict = match Api::<Pod>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let own = |p: &Pod| p.spec.as_ref().and_then(|s| s.host_network) != Some(true);
            let pods = list.items.into_iter().filter(own);
            let ips = pods.filter_map(|p| p.status?.pod_ip?.parse::<IpAddr>().ok());
            outside(ips, covered, fix)
        }
    };
    category.add("l5d-cluster-networks-pods", "cluster networks contain all pods", verdict);
    let verdict = match Api::<Service>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let ips = list.items.into_iter().filter_map(|s| s.spec?.cluster_ip?.parse::<IpAddr>().ok());
            outside(ips, covered, fix)
        }
    };
    category.add("l5d-cluster-networks-pods", "cluster networks contain all services", verdict);
    category
}

fn outside(ips: impl Iterator<Item = IpAddr>, covered: impl Fn(&IpAddr) -> bool, fix: &str) -> Verdict {
    let all: Vec<String> = ips.filter(|ip| !covered(ip)).map(|ip| ip.to_string()).collect();
    let shown = all.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Verdict::error_if((!all.is_empty()).then(|| format!("{} not covered: {shown}", all.len())), fix)
}

/// Whether the control plane and its proxies are of this version.
pub(super) async fn versions(context: &Context) -> Category {
    let mut category = Category::new("control-plane-version");
    let fix =
        "bring them together:  meshctl upgrade | kubectl apply -f -   (or use the meshctl of that version)";
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &context.namespace);
    let verdict = match deployments.list(&ListParams::default().labels(labels::CONTROL_PLANE_COMPONENT)).await
    {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let others: Vec<String> = list
                .items
                .into_iter()
                .filter_map(|d| {
                    let version = d.metadata.labels?.remove("app.kubernetes.io/version")?;
                    let name = d.metadata.name.unwrap_or_default();
                    (version != VERSION).then(|| format!("{name} is {version}"))
                })
                .collect();
            let why = (!others.is_empty()).then(|| format!("meshctl is {VERSION}, {}", others.join(", ")));
            Verdict::warning_if(why, fix)
        }
    };
    category.add("l5d-version-control", "control plane and cli versions match", verdict);
    let verdict = match pods(context).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(pods) => {
            let other = |p: &&Pod| annotation(p, annotations::PROXY_VERSION).is_some_and(|v| v != VERSION);
            let names: Vec<&str> =
                pods.iter().filter(other).filter_map(|p| p.metadata.name.as_deref()).collect();
            let why = (!names.is_empty()).then(|| format!("other proxies in: {}", names.join(", ")));
            Verdict::warning_if(why, fix)
        }
    };
    category.add("l5d-cp-proxy-cli-version", "control plane proxies and cli versions match", verdict);
    category
}

/// With high availability: whether one lost node leaves every component running.
pub(super) async fn replicas(context: &Context) -> Category {
    let mut category = Category::new("linkerd-ha-checks");
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &context.namespace);
    let mut few = Vec::new();
    for component in COMPONENTS {
        let name = format!("linkerd-{component}");
        let found = deployments.get_opt(&name).await.ok().flatten();
        let available = found.and_then(|d| d.status?.available_replicas).unwrap_or(0);
        if available < 2 {
            few.push(format!("{name} has {available}"));
        }
    }
    let why = (!few.is_empty()).then(|| format!("available replicas: {}", few.join(", ")));
    let fix = format!("look at them:  kubectl -n {} get deploy", context.namespace);
    category.add(
        "l5d-control-plane-replicas",
        "multiple replicas of control plane pods",
        Verdict::error_if(why, fix),
    );
    category
}
