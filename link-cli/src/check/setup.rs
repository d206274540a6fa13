//! What has to be there before the control plane, and whether the account may install it.

use super::Context;
use super::outcome::{Category, Verdict};
use crate::charts::Chart;
use mesh_kube::k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use mesh_kube::k8s_openapi::api::core::v1::{Namespace, Node};
use mesh_kube::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::{ListParams, ObjectMeta, PostParams};
use std::collections::BTreeSet;

/// Nodes report at least every five minutes.
const HEARTBEAT_SECONDS: i64 = 300;

const CLUSTER_WIDE: [(&str, &str, &str); 5] = [
    ("", "namespaces", "Namespaces"),
    ("rbac.authorization.k8s.io", "clusterroles", "ClusterRoles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "MutatingWebhookConfigurations"),
];

const NAMESPACED: [(&str, &str, &str); 5] = [
    ("", "serviceaccounts", "ServiceAccounts"),
    ("", "services", "Services"),
    ("apps", "deployments", "Deployments"),
    ("", "configmaps", "ConfigMaps"),
    ("", "secrets", "Secrets"),
];

/// Before an installation.
pub(super) async fn pre(context: &Context) -> Category {
    let mut category = Category::new("pre-kubernetes-setup");
    let namespace = &context.namespace;
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let verdict = match namespaces.get_opt(namespace).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(found) => Verdict::error_if(
            found.map(|_| format!("namespace {namespace} exists")),
            "meshctl upgrade changes an installation; meshctl uninstall removes one; -L names another namespace",
        ),
    };
    category.add("pre-ns", "control plane namespace does not already exist", verdict);
    for (group, resource, name) in CLUSTER_WIDE {
        let verdict = may(context, "create", group, resource, None).await;
        category.add("pre-k8s-cluster-k8s", format!("can create {name}"), verdict);
    }
    for (group, resource, name) in NAMESPACED {
        let verdict = may(context, "create", group, resource, Some(namespace)).await;
        category.add("pre-k8s", format!("can create {name}"), verdict);
    }
    category.add("pre-k8s", "can read Secrets", may(context, "get", "", "secrets", Some(namespace)).await);
    category.add("pre-k8s-clock-skew", "no clock skew detected", clock(context).await);
    category
}

async fn may(context: &Context, verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Verdict {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        status: None,
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(context.client.clone());
    match api.create(&PostParams::default(), &review).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(answer) => {
            let allowed = answer.status.is_some_and(|s| s.allowed);
            let why = (!allowed).then(|| format!("this account may not {verb} {resource}"));
            Verdict::error_if(
                why,
                "have an administrator install, or grant the account cluster-admin meanwhile",
            )
        }
    }
}

/// Nodes stamp their heartbeats with their own clock.
async fn clock(context: &Context) -> Verdict {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let list = match nodes.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return Verdict::unanswered(&error),
    };
    let now = Timestamp::now();
    let skewed: Vec<String> = list
        .items
        .into_iter()
        .filter_map(|node| {
            let ready = node.status?.conditions?.into_iter().find(|c| c.type_ == "Ready")?;
            let age = now.as_second() - ready.last_heartbeat_time?.0.as_second();
            let name = node.metadata.name.unwrap_or_default();
            (age.abs() > HEARTBEAT_SECONDS).then(|| format!("{name} ({age} s)"))
        })
        .collect();
    let why =
        (!skewed.is_empty()).then(|| format!("heartbeats are off by more than 5 m: {}", skewed.join(", ")));
    Verdict::warning_if(why, "synchronise the clocks of this machine and of the nodes")
}

/// Whether every definition that `install --crds` prints is there.
pub(super) async fn definitions(context: &Context) -> Category {
    let mut category = Category::new("linkerd-crd");
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let verdict = match api.list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let there: BTreeSet<String> = list.items.into_iter().filter_map(|d| d.metadata.name).collect();
            let missing: Vec<String> = wanted().into_iter().filter(|name| !there.contains(name)).collect();
            let why = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
            Verdict::error_if(why, "run:  meshctl install --crds | kubectl apply -f -")
        }
    };
    category.add("l5d-existence-crd", "control plane CustomResourceDefinitions exist", verdict);
    category
}

fn wanted() -> Vec<String> {
    let rendered = Chart::Crds.default_values().and_then(|values| Chart::Crds.render("linkerd", &values));
    let manifests = rendered.and_then(crate::manifest::parse).unwrap_or_default();
    manifests.iter().filter_map(|m| m.object["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
