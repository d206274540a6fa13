//! Extensions, found by the label of their namespace.

use super::Context;
use super::outcome::{Category, Verdict};
use mesh_kube::k8s_openapi::api::core::v1::Namespace;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use mesh_types::labels;
use std::collections::BTreeMap;

/// Whether each extension is in one namespace.
pub(super) async fn extensions(context: &Context) -> Category {
    let mut category = Category::new("linkerd-extension-checks");
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let verdict = match namespaces.list(&ListParams::default().labels(labels::EXTENSION)).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for namespace in list.items {
                let extension = namespace.labels().get(labels::EXTENSION).cloned().unwrap_or_default();
                places.entry(extension).or_default().push(namespace.name_any());
            }
            let twice = places.into_iter().filter(|(_, namespaces)| namespaces.len() > 1);
            let twice: Vec<String> = twice.map(|(e, n)| format!("{e} in {}", n.join(" and "))).collect();
            Verdict::error_if(
                (!twice.is_empty()).then(|| twice.join("; ")),
                format!("keep one of them, and take the label {} from the others", labels::EXTENSION),
            )
        }
    };
    category.add("l5d-extension-namespaces", "each extension is in one namespace", verdict);
    category
}
