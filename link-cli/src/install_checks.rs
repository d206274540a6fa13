//! What must hold of a cluster before the control plane's manifests make sense.

use crate::globals::Globals;
use crate::report::Problem;
use mesh_kube::k8s_openapi::api::core::v1::ConfigMap;
use mesh_kube::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_kube::kube::Api;

/// One of the definitions that `install --crds` prints; they are applied together.
const A_DEFINITION: &str = "servers.policy.linkerd.io";

/// Name of the ConfigMap with the installed values.
pub(crate) const CONFIG: &str = "linkerd-config";

/// Refuses where the definitions are missing or a control plane is there already.
pub(crate) async fn before_install(globals: &Globals) -> anyhow::Result<()> {
    let client = globals.client().await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    if definitions.get_opt(A_DEFINITION).await.map_err(|e| unreachable(&e))?.is_none() {
        return Err(Problem::new(
            "the custom resources are not installed",
            format!("the cluster has no definition {A_DEFINITION}"),
            "run first:  meshctl install --crds | kubectl apply -f -",
        )
        .into());
    }
    let namespace = &globals.linkerd_namespace;
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    if maps.get_opt(CONFIG).await.map_err(|e| unreachable(&e))?.is_some() {
        return Err(Problem::new(
            "the control plane is installed already",
            format!("ConfigMap {namespace}/{CONFIG} exists"),
            "change it with:  meshctl upgrade | kubectl apply -f -",
        )
        .into());
    }
    Ok(())
}

/// A request that the API server did not answer as hoped.
pub(crate) fn unreachable(error: &mesh_kube::kube::Error) -> Problem {
    Problem::new(
        "the cluster cannot be asked",
        mesh_kube::explain(error),
        "check --context and --kubeconfig, or pass --ignore-cluster to print manifests without a cluster",
    )
}
