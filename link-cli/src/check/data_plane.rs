//! The proxies of workloads.

use super::control_plane::{annotation, is_ready, label};
use super::outcome::{Category, Verdict};
use super::{Context, until_well};
use crate::own_version;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Pod};
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{self, Api};
use mesh_tls::TrustBundle;
use mesh_types::{annotations, labels};

/// Whether meshed pods run, are of this version, and trust what the control plane trusts.
pub(super) async fn data_plane(context: &Context, namespace: Option<&str>) -> [Category; 2] {
    let mut trust = Category::new("linkerd-identity-data-plane");
    let mut plane = Category::new("linkerd-data-plane");
    let there = until_well(context, || async {
        match pods(context, namespace).await {
            Err(error) => Some(mesh_kube::explain(&error)),
            Ok(pods) => pods.is_empty().then(|| "no pod has a proxy".to_owned()),
        }
    })
    .await;
    let fix = "annotate a namespace or a workload with linkerd.io/inject: enabled and restart it (meshctl inject --help)";
    if !plane.add("l5d-data-plane-exists", "data plane exists", Verdict::error_if(there, fix)) {
        return [trust, plane];
    }
    let ready = until_well(context, || async {
        match pods(context, namespace).await {
            Err(error) => Some(mesh_kube::explain(&error)),
            Ok(pods) => named(&pods, |p| !is_ready(p) && !is_over(p)).map(|n| format!("not ready: {n}")),
        }
    })
    .await;
    let fix = "look at them:  kubectl describe pod …   (their proxies: kubectl logs … -c linkerd-proxy)";
    plane.add("l5d-data-plane-ready", "data plane proxies are ready", Verdict::error_if(ready, fix));
    let pods = pods(context, namespace).await.unwrap_or_default();
    let restart = "restart them:  kubectl rollout restart deploy/…";
    let other =
        named(&pods, |p| annotation(p, annotations::PROXY_VERSION).is_some_and(|v| v != own_version()));
    let why = other.map(|names| format!("not {}: {names}", own_version()));
    plane.add(
        "l5d-data-plane-cli-version",
        "data plane and cli versions match",
        Verdict::warning_if(why, restart),
    );
    let as_label = |p: &Pod| {
        let keys = p.metadata.labels.iter().flat_map(|l| l.keys());
        keys.into_iter().any(|k| k == annotations::INJECT || k.starts_with(annotations::CONFIG_PREFIX))
    };
    let why = named(&pods, as_label).map(|names| format!("annotations written as labels: {names}"));
    let fix = "move linkerd.io/inject and config.linkerd.io/… from labels to annotations of the pod template";
    plane.add(
        "l5d-data-plane-pod-labels",
        "data plane pod labels are configured correctly",
        Verdict::warning_if(why, fix),
    );
    super::services::services(context, namespace, &pods, &mut plane).await;
    trust.add(
        "l5d-identity-data-plane-proxies-certs-match-ca",
        "data plane proxies certificate match CA",
        anchors(context, &pods).await,
    );
    [trust, plane]
}

async fn pods(context: &Context, namespace: Option<&str>) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let ours = format!("{}={}", labels::CONTROL_PLANE_NS, context.namespace);
    let mut pods = api.list(&ListParams::default().labels(&ours)).await?.items;
    pods.retain(|p| label(p, labels::CONTROL_PLANE_COMPONENT).is_none());
    Ok(pods)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Names of the pods for which something holds, the first five of them.
fn named(pods: &[Pod], holds: impl Fn(&Pod) -> bool) -> Option<String> {
    let found: Vec<String> = pods
        .iter()
        .filter(|p| holds(p))
        .map(|p| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("{}/{}", text(&p.metadata.namespace), text(&p.metadata.name))
        })
        .collect();
    let more = found.len().saturating_sub(5);
    let shown = found.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    match (found.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

/// A pod injected under another bundle follows the present one live if its proxy speaks `Trust/Watch`; the annotation
/// tells only what it began with. So a difference is a warning.
async fn anchors(context: &Context, pods: &[Pod]) -> Verdict {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.namespace);
    let map = match maps.get_opt("linkerd-identity-trust-roots").await {
        Ok(map) => map,
        Err(error) => return Verdict::unanswered(&error),
    };
    let pem = map.and_then(|m| m.data?.remove("ca-bundle.crt")).unwrap_or_default();
    let Ok(bundle) = TrustBundle::from_pem(&pem) else { return Verdict::Good };
    let differs =
        |p: &Pod| annotation(p, annotations::TRUST_ROOT_SHA256).is_some_and(|h| h != bundle.sha256());
    let why = named(pods, differs).map(|names| format!("injected with other trust anchors: {names}"));
    Verdict::warning_if(
        why,
        "restart them before an old anchor is dropped:  kubectl rollout restart deploy/…",
    )
}
