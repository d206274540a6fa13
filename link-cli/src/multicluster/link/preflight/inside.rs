//! What the importing cluster's own mirror reaches: it is asked to try, since only that tells whether the link will work.

use super::super::exporter::{Exporter, Servers};
use super::super::importer::Importer;
use super::{REACHABLE, Row, bad, good, warning};
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::AttachParams;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

/// The gateway and the API server as the importing cluster's mirror reaches them, and the address of the API server that
/// answered.
pub(super) async fn rows(exporter: &Exporter, importer: &Importer) -> (Vec<Row>, Option<String>) {
    let name = REACHABLE;
    let untried = |why: String| {
        let cell = warning(format!("not tried: {why}"));
        (vec![Row { name, importer: Some(cell), exporter: None, fix: None }], None)
    };
    let Some(pod) = &importer.mirror_pod else {
        return untried("no ready linkerd-service-mirror pod".to_owned());
    };
    let report = match ask(exporter, importer, pod).await {
        Ok(report) => report,
        Err(error) => return untried(format!("{error:#}")),
    };
    let gateways = report["gateways"].as_array().into_iter().flatten();
    let mut rows: Vec<Row> = gateways.map(gateway).collect();
    let attempts = report["apiServers"].as_array().map_or(&[][..], Vec::as_slice);
    let (row, server) = api_server(&exporter.servers, attempts);
    rows.push(row);
    (rows, server)
}

fn gateway(attempt: &Value) -> Row {
    let (importer, fix) = match (attempt["rttMs"].as_f64(), attempt["error"].as_str()) {
        (Some(rtt), _) => (good(format!("gateway proves its identity, {rtt:.1} ms")), None),
        (None, error) => {
            let error = error.unwrap_or("no answer");
            // A gateway that answers and is a stranger is a matter of trust anchors, which have a row of their own.
            let fix = "open the way from this cluster's nodes to the gateway's ports, or pin other --gateway-addresses";
            (bad(error), (!error.contains("does not prove")).then(|| fix.to_owned()))
        }
    };
    Row { name: REACHABLE, importer: Some(importer), exporter: None, fix }
}

/// The row of the API server, and the address to use. Where none was given, the first that answers is taken; where one
/// was given that does not, one that does is proposed.
fn api_server(servers: &Servers, attempts: &[Value]) -> (Row, Option<String>) {
    let name = "api server from inside";
    let tried = || servers.candidates.iter().zip(attempts);
    let answering = tried().find(|(_, a)| a["rttMs"].is_f64());
    let reason = |attempt: &Value| attempt["error"].as_str().unwrap_or("no answer").to_owned();
    let first = attempts.first().map_or_else(|| "not tried".to_owned(), reason);
    match answering {
        Some((candidate, attempt)) if !servers.given || candidate == &servers.candidates[0] => {
            let rtt = attempt["rttMs"].as_f64().unwrap_or_default();
            let mut note = format!("taken from {}", candidate.from);
            if let Some(useless) = &servers.useless {
                note.push_str(&format!("; the kubeconfig says {useless}"));
            } else if candidate != &servers.candidates[0] {
                note.push_str(&format!("; {} does not answer", servers.candidates[0].url));
            }
            let plain = candidate.from == "the kubeconfig";
            let row = Row {
                name,
                importer: Some(good(format!("{} {rtt:.1} ms", candidate.url))),
                exporter: (!plain).then(|| good(note)),
                fix: None,
            };
            (row, Some(candidate.url.clone()))
        }
        Some((candidate, _)) => {
            let fix =
                format!("this one answers:  --api-server-address {} ({})", candidate.url, candidate.from);
            let cell = bad(format!("{}: {first}", servers.candidates[0].url));
            (Row { name, importer: Some(cell), exporter: None, fix: Some(fix) }, None)
        }
        None => {
            let others = tried().skip(1).map(|(c, a)| format!("{} ({})", c.url, reason(a)));
            let others: Vec<String> = others.collect();
            let mut fix =
                "give an address that this cluster's pods reach with --api-server-address".to_owned();
            if !others.is_empty() {
                fix.push_str(&format!("; tried as well: {}", others.join(", ")));
            }
            let cell = bad(format!("{}: {first}", servers.candidates[0].url));
            (Row { name, importer: Some(cell), exporter: None, fix: Some(fix) }, None)
        }
    }
}

/// Host and port of a URL, as a socket is opened with them.
fn host_and_port(url: &str) -> String {
    let rest = url.split("://").last().unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { authority.to_owned() } else { format!("{authority}:443") }
}

async fn ask(exporter: &Exporter, importer: &Importer, pod: &str) -> anyhow::Result<Value> {
    use anyhow::Context as _;
    use base64::Engine as _;
    let gateway = &exporter.gateway;
    let servers: Vec<String> = exporter.servers.candidates.iter().map(|c| host_and_port(&c.url)).collect();
    let mut command = vec!["/isthmus/isthmus-controller".to_owned(), "reach".to_owned()];
    command.push(format!("--gateway={}", gateway.endpoints().join(",")));
    command.push(format!("--identity={}", gateway.identity));
    command.push(format!("--probe-port={}", gateway.probe_port));
    command.push(format!("--probe-path={}", gateway.probe_path));
    command.push(format!("--api-server={}", servers.join(",")));
    if let Some(ca) = &exporter.servers.ca {
        let encoded = base64::engine::general_purpose::STANDARD.encode(ca);
        command.push(format!("--api-server-ca={encoded}"));
    }
    let pods: Api<Pod> = Api::namespaced(importer.client.clone(), &importer.namespace);
    let params = AttachParams::default().stdout(true).stderr(true).container("service-mirror");
    let mut process = pods.exec(pod, command, &params).await.context("exec in the mirror's pod")?;
    let mut output = String::new();
    if let Some(mut stdout) = process.stdout() {
        stdout.read_to_string(&mut output).await?;
    }
    let mut errors = String::new();
    if let Some(mut stderr) = process.stderr() {
        stderr.read_to_string(&mut errors).await?;
    }
    serde_json::from_str(output.trim())
        .with_context(|| format!("the mirror's pod answered {output:?} {errors:?}"))
}

#[cfg(test)]
mod tests;
