//! `multicluster gateways`: how the gateways of linked clusters are doing, as the mirror sees them.

use crate::globals::Globals;
use crate::report::Problem;
use comfy_table::{Table, presets};
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::Api;
use mesh_kube::kube::ResourceExt as _;
use mesh_kube::kube::api::ListParams;
use mesh_kube::link::{Link, LinkStatus};
use mesh_types::MULTICLUSTER_NAMESPACE;
use serde_json::json;
use std::process::ExitCode;

/// Shows the gateways of linked clusters: alive, round trip, services, freshness, trust.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only this linked cluster
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Namespace of the multicluster extension
    #[arg(long, short = 'n', default_value = MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// table or json
    #[arg(long, short = 'o', default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

struct Row {
    cluster: String,
    alive: usize,
    addresses: usize,
    rtt_ms: Option<f64>,
    services: usize,
    synced: String,
    trust: String,
    credentials: String,
    notes: Vec<String>,
}

/// Runs the command; fails (exit code 1) when a gateway is dead.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let links: Api<Link> = Api::namespaced(globals.client().await?, &args.namespace);
    let listed = links.list(&ListParams::default()).await.map_err(|e| {
        let fix = "meshctl multicluster install | kubectl apply -f -";
        Problem::new("links cannot be listed", mesh_kube::explain(&e), fix)
    })?;
    let wanted = |link: &Link| args.cluster_name.as_ref().is_none_or(|c| link.spec.target_cluster_name == *c);
    let rows: Vec<Row> = listed.items.iter().filter(|l| wanted(l)).map(row).collect();
    if rows.is_empty() {
        let fix = "meshctl --context west multicluster link --to-context east links two clusters";
        return Err(Problem::new(
            "no linked cluster",
            format!("namespace {} holds no such Link", args.namespace),
            fix,
        )
        .into());
    }
    if args.output == "json" {
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(as_json).collect::<Vec<_>>())?);
    } else {
        print!("{}", render(&rows));
    }
    Ok(if rows.iter().all(|r| r.alive > 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(link: &Link) -> Row {
    let status = link.status.clone().unwrap_or_default();
    let gateway = status.gateway.clone().unwrap_or_default();
    let dead = gateway.addresses.iter().filter(|a| a.alive != Some(true));
    let cluster = if link.spec.target_cluster_name.is_empty() {
        link.name_any()
    } else {
        link.spec.target_cluster_name.clone()
    };
    let mut notes: Vec<String> =
        dead.filter_map(|a| a.error.as_ref().map(|e| format!("{cluster}: gateway {e}"))).collect();
    for name in ["Accepted", "Synced", "CredentialsValid"] {
        if let Some(bad) = status.conditions.iter().find(|c| c.type_ == name && c.status == "False") {
            notes.push(format!("{cluster}: {}", crate::report::one_line(&bad.message)));
        }
    }
    Row {
        alive: gateway.addresses.iter().filter(|a| a.alive == Some(true)).count(),
        addresses: gateway.addresses.len(),
        rtt_ms: gateway.addresses.iter().filter_map(|a| a.rtt_ms).reduce(f64::min),
        services: status.mirror_services.len() + status.federated_services.len(),
        synced: word(&status, "Synced", "yes"),
        trust: word(&status, "TrustEstablished", "ok"),
        credentials: word(&status, "CredentialsValid", "ok"),
        notes,
        cluster,
    }
}

/// A condition in a word: `good` where it holds, its reason and since when where it does not.
fn word(status: &LinkStatus, name: &str, good: &str) -> String {
    match status.conditions.iter().find(|c| c.type_ == name) {
        None => "unknown".to_owned(),
        Some(condition) if condition.status == "True" => good.to_owned(),
        Some(condition) => {
            let since: Option<Timestamp> = condition.last_transition_time.parse().ok();
            let age = since.map_or(0, |at| Timestamp::now().duration_since(at).as_secs().max(0));
            format!("{} {age} s", words(&condition.reason))
        }
    }
}

/// `NotTried` as people write it: `not tried`.
fn words(reason: &str) -> String {
    let mut text = String::new();
    for letter in reason.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLUSTER", "MODE", "ALIVE", "RTT", "SERVICES", "SYNCED", "TRUST", "CREDENTIALS"]);
    for row in rows {
        let glyph = if row.alive > 0 { '√' } else { '×' };
        let rtt = row.rtt_ms.filter(|_| row.alive > 0).map_or("–".to_owned(), |ms| format!("{ms:.1} ms"));
        table.add_row([
            row.cluster.clone(),
            "gateway".to_owned(),
            format!("{glyph} {}/{}", row.alive, row.addresses),
            rtt,
            row.services.to_string(),
            row.synced.clone(),
            row.trust.clone(),
            row.credentials.clone(),
        ]);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    for note in rows.iter().flat_map(|r| &r.notes) {
        text.push_str(&format!("  {note}\n"));
    }
    text
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "clusterName": row.cluster, "alive": row.alive > 0, "addressesAlive": row.alive, "addresses": row.addresses,
        "rttMs": row.rtt_ms, "numServices": row.services, "synced": row.synced, "trust": row.trust,
        "credentials": row.credentials, "notes": row.notes,
    })
}
