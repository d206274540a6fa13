//! Kubernetes itself.

use super::Context;
use super::outcome::{Category, Verdict};
use crate::globals::Globals;
use mesh_kube::Client;

/// The oldest Kubernetes with native sidecars switched on.
const MINIMUM: (u32, u32) = (1, 29);

/// Whether there is a client, and an API that answers it.
pub(super) async fn api(globals: &Globals) -> (Category, Option<Client>) {
    let mut category = Category::new("kubernetes-api");
    let fix = "name a cluster with --kubeconfig and --context; kubectl config get-contexts lists them";
    let client = match globals.client().await {
        Ok(client) => client,
        Err(error) => {
            let why = Verdict::Error(format!("{error:#}"), fix.to_owned());
            category.add("k8s-api", "can initialize the client", why);
            return (category, None);
        }
    };
    category.add("k8s-api", "can initialize the client", Verdict::Good);
    let verdict = match client.apiserver_version().await {
        Ok(_) => Verdict::Good,
        Err(error) => Verdict::unanswered(&error),
    };
    let answers = category.add("k8s-api", "can query the Kubernetes API", verdict);
    (category, answers.then_some(client))
}

/// Whether the API server is new enough.
pub(super) async fn version(context: &Context) -> Category {
    let mut category = Category::new("kubernetes-version");
    let verdict = match context.client.apiserver_version().await {
        Err(error) => Verdict::unanswered(&error),
        Ok(version) => Verdict::error_if(
            too_old(&version.major, &version.minor).then(|| format!("it runs {}", version.git_version)),
            format!("upgrade the cluster to {}.{} or newer", MINIMUM.0, MINIMUM.1),
        ),
    };
    category.add("k8s-version", "is running the minimum Kubernetes API version", verdict);
    category
}

/// Some distributions write a minor version such as `29+`.
fn too_old(major: &str, minor: &str) -> bool {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    (number(major), number(minor)) < MINIMUM
}

#[cfg(test)]
mod tests;
