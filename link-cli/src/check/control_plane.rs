//! The control plane's pods, versions and replicas.

use super::outcome::{Category, Verdict};
use super::trouble::{self, Trouble};
use super::{Context, until_well};
use crate::install_checks::CONFIG;
use crate::own_version;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{self, Api};
use mesh_types::{annotations, labels};
use serde_json::Value;

/// Components, each a Deployment `linkerd-…` with an account and roles of that name.
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
    let trouble = until_well(context, || not_ready(context)).await;
    let verdict = trouble.map_or(Verdict::Good, |t| Verdict::Error(t.why, t.fix));
    category.add("l5d-api-control-ready", "control plane pods are ready", verdict);
    let stuck = until_well(context, || not_rolled_out(context)).await;
    let fix = format!(
        "look at it:  kubectl -n {ns} describe deploy   and finish what was begun:  meshctl upgrade | kubectl apply -f -"
    );
    let verdict =
        stuck.map_or(Verdict::Good, |t| Verdict::Error(t.why, if t.fix.is_empty() { fix } else { t.fix }));
    category.add("l5d-existence-replicasets", "control plane replica sets are ready", verdict);
    let unschedulable =
        pods(context).await.map(|pods| pods.iter().filter_map(trouble::unschedulable).collect());
    let verdict = match unschedulable {
        Err(error) => Verdict::unanswered(&error),
        Ok(found) => {
            let found: Vec<String> = found;
            let why = (!found.is_empty()).then(|| found.join("; "));
            Verdict::warning_if(
                why,
                "add nodes or room on them, or ask for fewer replicas (--controller-replicas)",
            )
        }
    };
    category.add("l5d-existence-unschedulable-pods", "no unschedulable pods", verdict);
    (category, Some(values.unwrap_or_default()))
}

/// Components without a ready pod, and why their pods are not.
async fn not_ready(context: &Context) -> Option<Trouble> {
    let ns = &context.namespace;
    let pods = match pods(context).await {
        Ok(pods) => pods,
        Err(error) => return Some(Trouble::unanswered(&error)),
    };
    let of = |component: &str| {
        let pods = pods.iter().filter(|p| label(p, labels::CONTROL_PLANE_COMPONENT) == Some(component));
        pods.collect::<Vec<_>>()
    };
    let missing: Vec<&str> = COMPONENTS.into_iter().filter(|c| !of(c).into_iter().any(is_ready)).collect();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(|c| format!("linkerd-{c}")).collect();
    let first = missing.iter().find_map(|c| of(c).into_iter().find_map(trouble::of_pod));
    let why = format!("no ready pod of {}", names.join(", "));
    Some(match first {
        Some(cause) => Trouble { why: format!("{why}: {}", cause.why), fix: cause.fix },
        None => Trouble {
            why,
            fix: format!("look at them:  kubectl -n {ns} get pods   and   kubectl -n {ns} describe pods"),
        },
    })
}

/// A Deployment whose pods cannot be made, or are not those of its last change.
async fn not_rolled_out(context: &Context) -> Option<Trouble> {
    match deployments(context).await {
        Err(error) => Some(Trouble::unanswered(&error)),
        Ok(all) => {
            let pods = pods(context).await.unwrap_or_default();
            all.iter().find_map(|deployment| {
                let mut trouble = trouble::of_deployment(deployment)?;
                // Its new pods say why they do not come up.
                let own = deployment.spec.as_ref().and_then(|s| s.selector.match_labels.as_ref());
                let own = pods.iter().filter(|p| {
                    own.is_some_and(|want| want.iter().all(|(k, v)| label(p, k) == Some(v.as_str())))
                });
                if let Some(cause) = own.into_iter().find_map(trouble::of_pod) {
                    trouble.why = format!("{}: {}", trouble.why, cause.why);
                    trouble.fix = cause.fix;
                }
                Some(trouble)
            })
        }
    }
}

async fn pods(context: &Context) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let ours = ListParams::default().labels(labels::CONTROL_PLANE_COMPONENT);
    Ok(api.list(&ours).await?.items)
}

async fn deployments(context: &Context) -> Result<Vec<Deployment>, kube::Error> {
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &context.namespace);
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

/// Whether the control plane is of one version, and of this one's.
pub(super) async fn versions(context: &Context, values: &Value) -> Category {
    let mut category = Category::new("control-plane-version");
    let installed = values["linkerdVersion"].as_str().filter(|v| !v.is_empty());
    let deployments = deployments(context).await;
    let version = |d: &Deployment| d.metadata.labels.as_ref()?.get("app.kubernetes.io/version").cloned();
    let verdict = match &deployments {
        Err(error) => Verdict::unanswered(error),
        Ok(list) => {
            let others = list.iter().filter_map(|d| {
                let of = version(d).filter(|of| installed.is_some_and(|wanted| wanted != of))?;
                Some(format!("{} is {of}", d.metadata.name.as_deref().unwrap_or_default()))
            });
            let others: Vec<String> = others.collect();
            let why = (!others.is_empty())
                .then(|| format!("{CONFIG} says {}, {}", installed.unwrap_or_default(), others.join(", ")));
            Verdict::error_if(
                why,
                "an upgrade ended half-way; finish it:  meshctl upgrade | kubectl apply -f -",
            )
        }
    };
    let one = category.add("l5d-version-one", "control plane is of one version", verdict);
    let fix =
        "bring them together:  meshctl upgrade | kubectl apply -f -   (or use the meshctl of that version)";
    if let (Some(installed), true) = (installed, one) {
        let why = (installed != own_version())
            .then(|| format!("meshctl is {}, the control plane is {installed}", own_version()));
        let verdict = Verdict::warning_if(why, fix);
        category.add("l5d-version-control", "control plane and cli versions match", verdict);
    }
    if let Some(expected) = &context.expected_version {
        let why = (expected != own_version())
            .then(|| format!("meshctl is {}, {expected} is expected", own_version()));
        let verdict = Verdict::warning_if(why, "get the meshctl of that version");
        category.add("l5d-version-cli", "cli is of the expected version", verdict);
    }
    category
}

/// The proxies of the control plane's own pods.
pub(super) async fn proxies(context: &Context) -> Category {
    let mut category = Category::new("linkerd-control-plane-proxy");
    let ns = &context.namespace;
    let pods = match pods(context).await {
        Ok(pods) => pods,
        Err(error) => {
            category.add(
                "l5d-cp-proxy-healthy",
                "control plane proxies are healthy",
                Verdict::unanswered(&error),
            );
            return category;
        }
    };
    let sick: Vec<String> = pods.iter().filter_map(trouble::of_proxy).collect();
    let verdict = Verdict::error_if(
        (!sick.is_empty()).then(|| sick.join("; ")),
        format!("see what it says:  kubectl -n {ns} logs POD -c linkerd-proxy"),
    );
    category.add("l5d-cp-proxy-healthy", "control plane proxies are healthy", verdict);
    let other = |p: &&Pod| annotation(p, annotations::PROXY_VERSION).is_some_and(|v| v != own_version());
    let names: Vec<&str> = pods.iter().filter(other).filter_map(|p| p.metadata.name.as_deref()).collect();
    let why = (!names.is_empty()).then(|| format!("other proxies in: {}", names.join(", ")));
    let fix = "bring them together:  meshctl upgrade | kubectl apply -f -";
    category.add(
        "l5d-cp-proxy-cli-version",
        "control plane proxies and cli versions match",
        Verdict::warning_if(why, fix),
    );
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
