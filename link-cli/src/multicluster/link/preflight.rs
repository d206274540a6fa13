//! Is it going to work? Both sides are looked at, and what matters is tried from inside the importing cluster.

mod inside;

use super::exporter::Exporter;
use super::importer::Importer;
use crate::globals::Globals;
use crate::injector_ready::has_proxy;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use mesh_kube::kube::Api;
use mesh_kube::kube::api::{ListParams, PostParams};
use mesh_tls::TrustBundle;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::SystemTime;

/// Clocks further apart than this make fresh certificates look not yet valid (Linkerd's clock-skew allowance).
const MAX_SKEW_SECONDS: f64 = 20.0;

/// The row of what was tried from inside.
const REACHABLE: &str = "reachable from inside";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    Warning,
    Error,
}

impl Mark {
    fn glyph(self) -> char {
        match self {
            Self::Good => '√',
            Self::Warning => '‼',
            Self::Error => '×',
        }
    }
}

struct Cell {
    mark: Mark,
    text: String,
}

struct Row {
    name: &'static str,
    importer: Option<Cell>,
    exporter: Option<Cell>,
    fix: Option<String>,
}

/// All rows of the preflight.
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// Looks at everything; a look that fails is a row, not an error. Answers also with the address of the API server that
/// answered from inside the importing cluster, if one did.
pub(crate) async fn run(
    exporter: &Exporter,
    importer: &Importer,
    globals: &Globals,
) -> (Report, Option<String>) {
    let (here, there) = (&importer.client, &exporter.client);
    let namespace = globals.linkerd_namespace.as_str();
    let (api, mesh, clock, subnets, gateway, inside) = tokio::join!(
        both("api server", api_version(here), api_version(there)),
        both("mesh", mesh_version(here, namespace), mesh_version(there, namespace)),
        clock(here, there, &importer.namespace),
        subnets(here, there),
        gateway(exporter),
        inside::rows(exporter, importer),
    );
    let (inside, server) = inside;
    let mut rows = vec![api, mesh, anchors(exporter, importer), clock, gateway];
    rows.extend(inside);
    rows.push(subnets);
    (Report { rows }, server)
}

impl Report {
    pub(crate) fn has_errors(&self) -> bool {
        let cells = self.rows.iter().flat_map(|r| [&r.importer, &r.exporter]);
        cells.flatten().any(|c| c.mark == Mark::Error)
    }

    /// Why the gateway was not reached from inside the importing cluster, if that was tried.
    pub(crate) fn unreached(&self) -> Option<&str> {
        let mut tries =
            self.rows.iter().filter(|row| row.name == REACHABLE).filter_map(|row| row.importer.as_ref());
        tries.find(|cell| cell.mark == Mark::Error).map(|cell| cell.text.as_str())
    }

    /// The table of ux: one row a question, one column a side, the remedy below what failed.
    pub(crate) fn render(&self, exporting: &str, importing: &str) -> String {
        let show = |cell: &Option<Cell>| {
            cell.as_ref().map_or(String::new(), |c| format!("{} {}", c.mark.glyph(), c.text))
        };
        let width =
            self.rows.iter().map(|r| show(&r.importer).chars().count()).max().unwrap_or(0).clamp(20, 60) + 2;
        let mut text = format!("  {:<24}{importing:<width$}{exporting}\n", "preflight");
        for row in &self.rows {
            let (importer, exporter) = (show(&row.importer), show(&row.exporter));
            // A cell that is longer than its column still ends before the next one begins.
            let gap = if importer.chars().count() + 2 > width { "  " } else { "" };
            let line = format!("  {:<24}{importer:<width$}{gap}{exporter}", row.name);
            let _ = writeln!(text, "{}", line.trim_end());
            if let Some(fix) = &row.fix {
                let _ = writeln!(text, "  {:<24}  {fix}", "");
            }
        }
        text
    }
}

fn good(text: impl Into<String>) -> Cell {
    Cell { mark: Mark::Good, text: text.into() }
}

fn bad(text: impl Into<String>) -> Cell {
    Cell { mark: Mark::Error, text: text.into() }
}

fn warning(text: impl Into<String>) -> Cell {
    Cell { mark: Mark::Warning, text: text.into() }
}

async fn both(
    name: &'static str,
    importer: impl Future<Output = Result<String, String>>,
    exporter: impl Future<Output = Result<String, String>>,
) -> Row {
    let (importer, exporter) = tokio::join!(importer, exporter);
    let cell = |outcome: Result<String, String>| outcome.map_or_else(bad, good);
    Row { name, importer: Some(cell(importer)), exporter: Some(cell(exporter)), fix: None }
}

async fn api_version(client: &Client) -> Result<String, String> {
    let info = client.apiserver_version().await.map_err(|e| mesh_kube::explain(&e))?;
    Ok(info.git_version)
}

async fn mesh_version(client: &Client, namespace: &str) -> Result<String, String> {
    let values = super::exporter::mesh_config(client, namespace, "").await.map_err(|e| e.to_string())?;
    let version = values["linkerdVersion"].as_str().unwrap_or("of unknown version").to_owned();
    Ok(format!("isthmus {version}"))
}

fn anchors(exporter: &Exporter, importer: &Importer) -> Row {
    let bundles = (TrustBundle::from_pem(&importer.anchors), TrustBundle::from_pem(&exporter.anchors));
    let (importer, fix) = match bundles {
        (Ok(here), Ok(there)) if here == there => {
            (good(format!("same bundle (sha256 {}…)", &here.sha256()[..8])), None)
        }
        (Ok(here), Ok(there)) => {
            let shared = here.certs().iter().filter(|c| there.certs().contains(c)).count();
            let text = format!("{} here, {} there, {shared} shared", here.certs().len(), there.certs().len());
            let fix = "install both with issuers under one anchor:  meshctl trust init --out trust --issuer east --issuer west";
            if shared == 0 { (bad(text), Some(fix.to_owned())) } else { (warning(text), None) }
        }
        (Err(error), _) | (_, Err(error)) => (bad(error.to_string()), None),
    };
    Row { name: "trust anchors", importer: Some(importer), exporter: None, fix }
}

/// The API server's clock, told by the creation time of an object that is never kept.
async fn server_time(client: &Client, namespace: &str) -> Option<(f64, f64)> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut object = ConfigMap::default();
    object.metadata.name = Some("isthmus-clock".to_owned());
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let unix = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let before = unix();
    let created = maps.create(&params, &object).await.ok()?;
    let at = created.metadata.creation_timestamp?.0;
    Some((at.as_second() as f64, f64::midpoint(before, unix())))
}

async fn clock(here: &Client, there: &Client, namespace: &str) -> Row {
    let (a, b) = tokio::join!(server_time(here, namespace), server_time(there, namespace));
    let cell = match (a, b) {
        (Some((here, asked_here)), Some((there, asked_there))) => {
            // Creation times are whole seconds, so half a second on either side is noise.
            let skew = (here - asked_here) - (there - asked_there);
            // Adding zero makes -0 a 0.
            let text = format!("{:.0} s apart", skew.abs().round() + 0.0);
            if skew.abs() > MAX_SKEW_SECONDS { bad(text) } else { good(text) }
        }
        _ => warning("not compared: ConfigMaps may not be created here"),
    };
    Row { name: "clock", importer: Some(cell), exporter: None, fix: None }
}

async fn pod_subnets(client: &Client) -> BTreeSet<String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
    listed.into_iter().filter_map(|n| n.spec?.pod_cidr).collect()
}

async fn subnets(here: &Client, there: &Client) -> Row {
    let (here, there) = tokio::join!(pod_subnets(here), pod_subnets(there));
    let parse = |set: &BTreeSet<String>| {
        set.iter().filter_map(|s| s.parse::<ipnet::IpNet>().ok()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (parse(&here), parse(&there));
    let clash = ours.iter().find(|a| theirs.iter().any(|b| a.contains(b) || b.contains(*a)));
    let cell = match clash {
        Some(net) => warning(format!("overlap {net}: gateway mode only, flat mode would not work")),
        None if ours.is_empty() || theirs.is_empty() => {
            good("nodes tell no pod subnets; gateway mode does not need them")
        }
        None => good("distinct"),
    };
    Row { name: "subnets", importer: Some(cell), exporter: None, fix: None }
}

async fn gateway(exporter: &Exporter) -> Row {
    let gateway = &exporter.gateway;
    let (ready, all) = super::exporter::gateway_replicas(exporter).await;
    let name = format!("{}/{}", gateway.namespace, gateway.name);
    let (cell, fix) = if gateway.addresses.is_empty() {
        let fix = format!("wait for the address of Service {name}, or pin one with --gateway-addresses");
        (bad("no address published"), Some(fix))
    } else if ready == 0 {
        let fix = format!(
            "kubectl --context {} -n {} describe deployment {}",
            exporter.cluster, gateway.namespace, gateway.name
        );
        (bad(format!("{} (0 of {all} ready)", gateway.endpoints().join(", "))), Some(fix))
    } else if let Some(pod) = gateway_without_proxy(exporter).await {
        let fix = format!(
            "kubectl --context {} -n {} rollout restart deployment {}",
            exporter.cluster, gateway.namespace, gateway.name
        );
        (bad(format!("{pod} has no proxy: it started while the injector could not be asked")), Some(fix))
    } else {
        (good(format!("{} ({ready} of {all} ready)", gateway.endpoints().join(", "))), None)
    };
    Row { name: "gateway", importer: None, exporter: Some(cell), fix }
}

/// A pod of the gateway that runs without a proxy: ready, and no gateway.
async fn gateway_without_proxy(exporter: &Exporter) -> Option<String> {
    let gateway = &exporter.gateway;
    let pods: Api<Pod> = Api::namespaced(exporter.client.clone(), &gateway.namespace);
    let listed = pods.list(&ListParams::default().labels(&format!("app={}", gateway.name))).await.ok()?;
    let bare = listed.items.into_iter().find(|p| lives(p) && !has_proxy(p));
    bare.and_then(|pod| pod.metadata.name)
}

/// Whether a pod is neither about to go nor has ended.
fn lives(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Failed" | "Succeeded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_was_not_reached_is_told_from_other_errors() {
        let row = |name, cell| Row { name, importer: Some(cell), exporter: None, fix: None };
        let refused = || row(REACHABLE, bad("192.0.2.1:4143 refuses connections"));
        let report = Report { rows: vec![row("mesh", bad("none")), row(REACHABLE, good("1 ms")), refused()] };
        assert_eq!(report.unreached(), Some("192.0.2.1:4143 refuses connections"));
        let report = Report { rows: vec![row("mesh", bad("none")), row(REACHABLE, warning("not tried"))] };
        assert_eq!(report.unreached(), None);
    }

    #[test]
    fn a_long_cell_does_not_touch_the_next_column() {
        let long = "https://api.a-cluster-with-a-long-name.example.internal:6443 0.7 ms";
        let row = Row {
            name: "api server from inside",
            importer: Some(good(long)),
            exporter: Some(good("taken from")),
            fix: None,
        };
        let text = Report { rows: vec![row] }.render("west", "east");
        assert!(text.contains(&format!("√ {long}  √ taken from\n")), "{text}");
    }
}
