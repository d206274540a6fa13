//! `meshctl version`: this binary's version and the control plane's.

use crate::globals::Globals;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::kube::Api;
use serde_json::json;
use std::process::ExitCode;

/// What is said of a control plane that does not answer.
const UNAVAILABLE: &str = "unavailable";

/// Arguments of `meshctl version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print only the version of meshctl, without asking a cluster.
    #[arg(long)]
    client: bool,
    /// Print only the version numbers.
    #[arg(long)]
    short: bool,
    /// `json` for programs.
    #[arg(short, long, value_parser = ["json"], value_name = "FORMAT")]
    output: Option<String>,
}

/// Prints the versions. A control plane that cannot be asked is not an error.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let server = if args.client { None } else { Some(server(globals).await) };
    if args.output.is_some() {
        let versions = json!({"client": crate::own_version(), "server": server});
        println!("{}", serde_json::to_string_pretty(&versions)?);
        return Ok(ExitCode::SUCCESS);
    }
    let line = |what: &str, version: &str| match args.short {
        true => println!("{version}"),
        false => println!("{what} version: {version}"),
    };
    line("Client", crate::own_version());
    if let Some(server) = server {
        line("Server", &server);
    }
    Ok(ExitCode::SUCCESS)
}

async fn server(globals: &Globals) -> String {
    let client = match globals.client().await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("‼ {error}");
            return UNAVAILABLE.to_owned();
        }
    };
    let api: Api<Deployment> = Api::namespaced(client, &globals.linkerd_namespace);
    let found = api.get("linkerd-destination").await.ok();
    let label = found.and_then(|d| d.metadata.labels?.remove("app.kubernetes.io/version"));
    label.unwrap_or_else(|| UNAVAILABLE.to_owned())
}
