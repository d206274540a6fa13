//! Flags every command takes, and the Kubernetes client they lead to.

use crate::report::Problem;
use mesh_kube::{Client, Connection};
use std::path::PathBuf;

/// Keeps them apart from what a command itself takes.
const HEADING: &str = "Global options";

/// Flags every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// Namespace of the mesh's control plane.
    #[arg(
        short = 'L',
        long,
        global = true,
        help_heading = HEADING,
        env = "LINKERD_NAMESPACE",
        default_value = mesh_types::CONTROL_PLANE_NAMESPACE,
        value_name = "NAMESPACE"
    )]
    pub(crate) linkerd_namespace: String,
    /// Path of the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config).
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use (default: its current context).
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// User to impersonate.
    #[arg(long = "as", global = true, help_heading = HEADING, value_name = "USER")]
    pub(crate) as_user: Option<String>,
    /// Group to impersonate; may be repeated.
    #[arg(long, global = true, help_heading = HEADING, value_name = "GROUP")]
    pub(crate) as_group: Vec<String>,
    /// Print what is being done to stderr.
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) verbose: bool,
}

impl Globals {
    /// A client for the cluster that the flags name.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        self.client_for(self.context.as_deref()).await
    }

    /// A client for another context of the same kubeconfig.
    pub(crate) async fn client_for(&self, context: Option<&str>) -> anyhow::Result<Client> {
        let connection = Connection {
            kubeconfig: self.kubeconfig.clone(),
            context: context.map(str::to_owned),
            impersonate: self.as_user.clone(),
            impersonate_groups: self.as_group.clone(),
        };
        let name = context.map_or_else(|| "the current context".to_owned(), |c| format!("context {c:?}"));
        if self.verbose {
            eprintln!("connecting to the cluster of {name}");
        }
        mesh_kube::connect(&connection).await.map_err(|error| {
            Problem::new(
                format!("no client for {name}"),
                error.to_string(),
                "name a cluster with --kubeconfig and --context; kubectl config get-contexts lists them",
            )
            .into()
        })
    }
}
