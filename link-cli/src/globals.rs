//! Flags every command takes, and the Kubernetes client they lead to.

use std::path::PathBuf;

/// Flags every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// Namespace of the mesh's control plane.
    #[arg(
        short = 'L',
        long,
        global = true,
        env = "LINKERD_NAMESPACE",
        default_value = mesh_types::CONTROL_PLANE_NAMESPACE,
        value_name = "NAMESPACE"
    )]
    pub(crate) linkerd_namespace: String,
    /// Path of the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use (default: its current context).
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) as_user: Option<String>,
    /// Group to impersonate; may be repeated.
    #[arg(long, global = true, value_name = "GROUP")]
    pub(crate) as_group: Vec<String>,
    /// Print what is being done to stderr.
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
}
