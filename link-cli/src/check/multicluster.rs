//! Links to other clusters, judged by what the service mirror itself reports: it stands where the traffic goes.

use super::outcome::{Category, Verdict};
use super::{Context, until_well};
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use mesh_kube::k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_kube::k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use mesh_kube::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use mesh_kube::link::Link;
use mesh_types::labels;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

const MIRROR: &str = "linkerd-service-mirror";
const DEFINITION: &str = "links.multicluster.linkerd.io";

/// What a condition of a Link tells, and what to do when it is not well.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "CredentialsValid",
        "l5d-smc-target-clusters-access",
        "remote cluster access credentials are valid",
        "link again:  meshctl --context <linked cluster> multicluster link --to-context <this cluster>",
    ),
    (
        "Synced",
        "l5d-smc-target-clusters-synced",
        "exports of linked clusters are watched",
        "find out whether the linked cluster's API server runs and can be reached from the pods of this one",
    ),
    (
        "TrustEstablished",
        "l5d-multicluster-clusters-share-anchors",
        "clusters share trust anchors",
        "install both clusters with a common anchor (meshctl trust init --help)",
    ),
    (
        "Reachable",
        "l5d-multicluster-gateways-endpoints",
        "gateways of linked clusters are alive",
        "look there:  kubectl -n linkerd-multicluster get deploy,svc linkerd-gateway",
    ),
];

/// Whether the extension is here: the namespace that carries its label.
pub(super) async fn namespace(context: &Context) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let ours = ListParams::default().labels(&format!("{}=multicluster", labels::EXTENSION));
    let list = namespaces.list(&ours).await.ok()?;
    list.items.into_iter().next().map(|n| n.name_any())
}

/// Whether links work.
pub(super) async fn multicluster(context: &Context, namespace: &str) -> Category {
    let mut category = Category::new("linkerd-multicluster");
    let client = &context.client;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let verdict = match definitions.get_opt(DEFINITION).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(found) => Verdict::error_if(
            found.is_none().then(|| format!("there is no definition {DEFINITION}")),
            "run:  meshctl multicluster install | kubectl apply -f -",
        ),
    };
    if !category.add("l5d-multicluster-link-crd-exists", "Link CRD exists", verdict) {
        return category;
    }
    category.add(
        "l5d-multicluster-source-rbac-correct",
        "service mirror has its permissions",
        permissions(context).await,
    );
    let running = until_well(context, || mirror_is_missing(context, namespace)).await;
    let fix = format!("look at it:  kubectl -n {namespace} describe deploy/{MIRROR}");
    let verdict = Verdict::error_if(running, fix);
    category.add("l5d-multicluster-service-mirror-running", "service mirror is running", verdict);
    let links: Api<Link> = Api::namespaced(client.clone(), namespace);
    // What does not settle is told below.
    let _ = until_well(context, || unsettled(&links)).await;
    let links = match links.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            category.add("l5d-multicluster-links-are-valid", "Links are valid", Verdict::unanswered(&error));
            return category;
        }
    };
    let fix = "link again:  meshctl multicluster link --help";
    let wrong = invalid(context, namespace, &links).await;
    category.add("l5d-multicluster-links-are-valid", "Links are valid", Verdict::error_if(wrong, fix));
    for (kind, anchor, description, fix) in CONDITIONS {
        let asked = links.iter().filter(|l| concerns(l, kind));
        let wrong: Vec<String> = asked.filter_map(|l| unmet(l, kind)).collect();
        let why = (!wrong.is_empty()).then(|| wrong.join("; "));
        // What could not be tried is not known to be wrong; another check tells why it was not tried.
        let untried = links.iter().filter(|l| unmet(l, kind).is_some()).all(|l| is_unknown(l, kind));
        let verdict = if untried { Verdict::warning_if(why, fix) } else { Verdict::error_if(why, fix) };
        category.add(anchor, description, verdict);
    }
    mirrors(context, &links, &mut category).await;
    category
}

/// Whether a Link that was just made does not work yet.
async fn unsettled(links: &Api<Link>) -> Option<()> {
    let links = links.list(&ListParams::default()).await.ok()?.items;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    links.iter().any(|link| is_settling(link, now)).then_some(())
}

/// Whether a Link does not work and is so young that it may begin to. `now` is the time since 1970.
fn is_settling(link: &Link, now: Duration) -> bool {
    /// For a load balancer's address and the mirror's first probes.
    const SETTLING: Duration = Duration::from_secs(60);
    let made = link.metadata.creation_timestamp.as_ref().and_then(|t| u64::try_from(t.0.as_second()).ok());
    let young = made.is_some_and(|made| Duration::from_secs(made) + SETTLING > now);
    young && CONDITIONS.iter().any(|(kind, ..)| concerns(link, kind) && unmet(link, kind).is_some())
}

/// Whether a condition says something about a Link: without a gateway, there is none to reach or to trust.
fn concerns(link: &Link, kind: &str) -> bool {
    link.spec.gateway_address.is_some() || kind == "CredentialsValid" || kind == "Synced"
}

async fn permissions(context: &Context) -> Verdict {
    let roles: Api<ClusterRole> = Api::all(context.client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(context.client.clone());
    let mut missing = Vec::new();
    match roles.get_opt(MIRROR).await {
        Err(error) => return Verdict::unanswered(&error),
        Ok(found) => missing.extend(found.is_none().then_some("ClusterRole")),
    }
    match bindings.get_opt(MIRROR).await {
        Err(error) => return Verdict::unanswered(&error),
        Ok(found) => missing.extend(found.is_none().then_some("ClusterRoleBinding")),
    }
    let why = (!missing.is_empty()).then(|| format!("missing: {} {MIRROR}", missing.join(" and ")));
    Verdict::error_if(why, "put it back:  meshctl multicluster install | kubectl apply -f -")
}

async fn mirror_is_missing(context: &Context, namespace: &str) -> Option<String> {
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    match deployments.get_opt(MIRROR).await {
        Err(error) => Some(mesh_kube::explain(&error)),
        Ok(found) => {
            let available = found.and_then(|d| d.status?.available_replicas).unwrap_or(0);
            (available == 0).then(|| format!("Deployment {namespace}/{MIRROR} has no available replica"))
        }
    }
}

/// Links that name no cluster, or whose credentials are not there.
async fn invalid(context: &Context, namespace: &str, links: &[Link]) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let mut wrong = Vec::new();
    for link in links {
        let name = link.name_any();
        if link.spec.target_cluster_name.is_empty() {
            wrong.push(format!("{name}: spec.targetClusterName is empty"));
        }
        let secret = &link.spec.cluster_credentials_secret;
        let found = secrets.get_opt(secret).await.ok().flatten();
        if !found.and_then(|s| s.data).is_some_and(|d| d.contains_key("kubeconfig")) {
            wrong.push(format!("{name}: Secret {namespace}/{secret} has no kubeconfig"));
        }
    }
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn is_unknown(link: &Link, kind: &str) -> bool {
    let conditions = link.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == kind && c.status == "Unknown")
}

/// Why a condition of a Link does not hold.
fn unmet(link: &Link, kind: &str) -> Option<String> {
    let name = link.name_any();
    let conditions = link.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let Some(condition) = conditions.iter().find(|c| c.type_ == kind) else {
        // A link that cannot be read is not tried any further.
        return Some(match conditions.iter().find(|c| c.type_ == "Accepted" && c.status == "False") {
            Some(refused) => format!("{name}: {}", crate::report::one_line(&refused.message)),
            None => format!("{name}: the service mirror has not reported {kind} yet"),
        });
    };
    let message = crate::report::one_line(&condition.message);
    let why = || format!("{name}: {message} (since {})", condition.last_transition_time);
    (condition.status != "True").then(why)
}

/// Mirrors without endpoints, and mirrors of clusters that are linked no more.
async fn mirrors(context: &Context, links: &[Link], category: &mut Category) {
    let ours = ListParams::default().labels(&format!("{}=true", labels::MIRRORED_SERVICE));
    let services = Api::<Service>::all(context.client.clone()).list(&ours).await;
    let slices = Api::<EndpointSlice>::all(context.client.clone()).list(&ours).await;
    let (services, slices) = match (services, slices) {
        (Ok(services), Ok(slices)) => (services.items, slices.items),
        (Err(error), _) | (_, Err(error)) => {
            let verdict = Verdict::unanswered(&error);
            category.add(
                "l5d-multicluster-services-endpoints",
                "all mirror services have endpoints",
                verdict,
            );
            return;
        }
    };
    let with_endpoints: BTreeSet<(Option<String>, String)> = slices
        .into_iter()
        .filter(|s| !s.endpoints.is_empty())
        .filter_map(|s| Some((s.namespace(), s.labels().get(labels::SERVICE_NAME)?.clone())))
        .collect();
    let known: BTreeSet<&str> = links.iter().map(|l| l.spec.target_cluster_name.as_str()).collect();
    let (mut empty, mut orphaned) = (Vec::new(), Vec::new());
    for service in &services {
        let full = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
        let cluster = service.labels().get(labels::CLUSTER_NAME);
        if cluster.is_some_and(|c| !known.contains(c.as_str())) {
            orphaned.push(full.clone());
        }
        // Federated services may have only a local member, and flat ones have no endpoints here.
        let by_gateway = cluster.is_some() && !service.labels().contains_key(labels::REMOTE_DISCOVERY);
        if by_gateway && !with_endpoints.contains(&(service.namespace(), service.name_any())) {
            empty.push(full);
        }
    }
    let why = (!empty.is_empty()).then(|| format!("without endpoints: {}", empty.join(", ")));
    let fix = "read what the mirror says:  kubectl get links -A -o yaml   (status.mirrorServices)";
    let verdict = Verdict::error_if(why, fix);
    category.add("l5d-multicluster-services-endpoints", "all mirror services have endpoints", verdict);
    let why = (!orphaned.is_empty()).then(|| format!("no Link to their cluster: {}", orphaned.join(", ")));
    let fix = "delete them, or link the cluster again";
    category.add(
        "l5d-multicluster-orphaned-services",
        "all mirror services are part of a Link",
        Verdict::warning_if(why, fix),
    );
}

#[cfg(test)]
mod tests;
