//! `reach`: tries a linked cluster's gateway and API server from where the service mirror stands, and says how it went.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use clap::Args;
use mesh_kube::Client;
use mesh_service_mirror::reach::{Request, reach};

/// What is tried.
#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// Gateway addresses or host names with their port.
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// TLS identity that the gateway must prove.
    #[arg(long)]
    identity: String,
    /// Port of the gateway's readiness.
    #[arg(long, default_value_t = mesh_types::ports::ADMIN)]
    probe_port: u16,
    /// Path of the gateway's readiness.
    #[arg(long, default_value = "/ready")]
    probe_path: String,
    /// Hosts and ports under which the linked cluster's API server may answer.
    #[arg(long, value_delimiter = ',')]
    api_server: Vec<String>,
    /// CA of that API server: PEM in base64, as kubeconfigs hold it.
    #[arg(long, value_parser = pem_in_base64)]
    api_server_ca: Option<Pem>,
    /// Namespace of the control plane.
    #[arg(long, default_value = mesh_types::CONTROL_PLANE_NAMESPACE)]
    controller_namespace: String,
}

#[derive(Debug, Clone)]
struct Pem(String);

fn pem_in_base64(text: &str) -> Result<Pem, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map(Pem).map_err(|_| "is not the base64 of a PEM text".to_owned())
}

/// Prints the report as one line of JSON.
pub(crate) async fn run(client: Client, args: ReachArgs) -> Result<()> {
    let request = Request {
        gateways: args.gateway,
        probe_port: args.probe_port,
        probe_path: args.probe_path,
        identity: args.identity,
        api_servers: args.api_server,
        api_server_ca: args.api_server_ca.map(|pem| pem.0),
    };
    let report = reach(&client, &args.controller_namespace, &request).await.context("cannot try")?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
