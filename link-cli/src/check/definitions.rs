//! The custom resource definitions.

use super::Context;
use super::outcome::{Category, Verdict};
use crate::charts::Chart;
use mesh_kube::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Whether every definition that `install --crds` prints is there, with every version of it.
pub(super) async fn definitions(context: &Context) -> Category {
    let mut category = Category::new("linkerd-crd");
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let there = match api.list(&ListParams::default()).await {
        Err(error) => {
            let verdict = Verdict::unanswered(&error);
            category.add("l5d-existence-crd", "control plane CustomResourceDefinitions exist", verdict);
            return category;
        }
        Ok(list) => list.items.into_iter().map(served_by).collect::<BTreeMap<_, _>>(),
    };
    let wanted = wanted();
    let missing: Vec<&str> = wanted.keys().filter(|n| !there.contains_key(*n)).map(String::as_str).collect();
    let why = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
    let verdict = Verdict::error_if(why, "run:  meshctl install --crds | kubectl apply -f -");
    category.add("l5d-existence-crd", "control plane CustomResourceDefinitions exist", verdict);
    let mut older = Vec::new();
    for (name, versions) in &wanted {
        let Some(served) = there.get(name) else { continue };
        older.extend(versions.difference(served).map(|version| format!("{name} {version}")));
    }
    let why = (!older.is_empty()).then(|| format!("not served: {}", older.join(", ")));
    let verdict = Verdict::error_if(why, "run:  meshctl upgrade --crds | kubectl apply -f -");
    category.add("l5d-crd-versions", "control plane CustomResourceDefinitions serve every version", verdict);
    category
}

fn served_by(definition: CustomResourceDefinition) -> (String, BTreeSet<String>) {
    let served = definition.spec.versions.into_iter().filter(|v| v.served).map(|v| v.name);
    (definition.metadata.name.unwrap_or_default(), served.collect())
}

/// The definitions of this version, and the versions that each serves.
fn wanted() -> BTreeMap<String, BTreeSet<String>> {
    let rendered = Chart::Crds.default_values().and_then(|values| Chart::Crds.render("linkerd", &values));
    let manifests = rendered.and_then(crate::manifest::parse).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |object: &Value| {
        let versions = object["spec"]["versions"].as_array().into_iter().flatten();
        let served = versions.filter(|v| v["served"] == true).map(|v| text(&v["name"]));
        (text(&object["metadata"]["name"]), served.collect())
    };
    manifests.iter().map(|m| one(&m.object)).collect()
}
