//! What must hold of a cluster before the control plane's manifests make sense.

use crate::globals::Globals;
use crate::report::Problem;
use mesh_kube::k8s_openapi::api::core::v1::ConfigMap;
use mesh_kube::k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_kube::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use mesh_types::labels;
use serde_json::Value;

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

/// Lets the control plane reach the API server without its proxies: puts ports that the cluster uses and the defaults
/// lack among `proxyInit.kubeAPIServerPorts`.
pub(crate) async fn of_the_cluster(globals: &Globals, values: &mut Value) -> anyhow::Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(globals.client().await?, "default");
    let kubernetes = ListParams::default().labels(&format!("{}=kubernetes", labels::SERVICE_NAME));
    // Whoever may not see them goes with the defaults.
    let Ok(list) = slices.list(&kubernetes).await else { return Ok(()) };
    let used = list.items.into_iter().flat_map(|s| s.ports.unwrap_or_default()).filter_map(|p| p.port);
    let slot = &mut values["proxyInit"]["kubeAPIServerPorts"];
    let mut ports: Vec<String> = slot.as_str().unwrap_or_default().split(',').map(str::to_owned).collect();
    for port in used.map(|p| p.to_string()) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    *slot = ports.join(",").into();
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
