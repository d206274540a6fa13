//! `multicluster unlink`: prints what a link made in this cluster, for `kubectl delete -f -`.

use crate::globals::Globals;
use crate::manifest;
use crate::report::Problem;
use mesh_kube::kube::Api;
use mesh_kube::link::Link;
use mesh_types::{ClusterName, MULTICLUSTER_NAMESPACE};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints the objects of a link, to be deleted; the service mirror then clears its mirrors away.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the linked cluster
    #[arg(long, value_name = "NAME")]
    cluster_name: String,
    /// Namespace of the multicluster extension
    #[arg(long, short = 'n', default_value = MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// Format of printed objects
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: manifest::Format,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let cluster: ClusterName = args.cluster_name.parse().map_err(|e: mesh_types::NameError| {
        Problem::usage("--cluster-name", e.to_string(), "give the name of a linked cluster")
    })?;
    let links: Api<Link> = Api::namespaced(globals.client().await?, &args.namespace);
    if let Err(error) = links.get(cluster.as_str()).await {
        let fix = format!("kubectl -n {} get links lists them", args.namespace);
        return Err(Problem::new(format!("no link to {cluster}"), mesh_kube::explain(&error), fix).into());
    }
    let objects = objects(&cluster, &args.namespace, &globals.linkerd_namespace);
    manifest::print(&manifest::of(objects)?, args.output)?;
    Ok(ExitCode::SUCCESS)
}

fn objects(cluster: &ClusterName, namespace: &str, control_plane: &str) -> Vec<Value> {
    let secret = format!("cluster-credentials-{cluster}");
    let object = |api_version: &str, kind: &str, namespace: &str, name: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    vec![
        object("multicluster.linkerd.io/v1alpha3", "Link", namespace, cluster.as_str()),
        object("v1", "Secret", namespace, &secret),
        object("v1", "Secret", control_plane, &secret),
        object("coordination.k8s.io/v1", "Lease", namespace, &format!("service-mirror-write-{cluster}")),
    ]
}
