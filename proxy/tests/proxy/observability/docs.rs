//! `docs/metrics.md` is made from what a proxy registers, and this test keeps it so. `UPDATE_DOCS=1 cargo test -p mesh-proxy
//! metrics_page` writes it.

use super::labels::LABELS;
use crate::app;
use crate::destinations::service;
use crate::harness::{CLIENT, Mesh, Proxy, Setup, get, send};
use crate::outbound::{VIRTUAL, WEB, through};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use mesh_metrics::Description;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

const HEAD: &str = "# Metrics of the proxy

Made from what a proxy registers; do not edit. `UPDATE_DOCS=1 cargo test -p mesh-proxy metrics_page` writes this page, and the
same test fails where it is out of date.

The admin port (4191) serves them at `/metrics` as OpenMetrics text. Names, labels and buckets are those of Linkerd's proxy where
it has the same; those it has not begin with `isthmus_`. A series nobody uses is dropped after `LINKERD2_PROXY_METRICS_RETAIN_IDLE`
(10 min). Labels with a `*` stand for all whose names begin so: what the control plane says of an endpoint.

| Name | Type | Unit | Labels | What it tells |
|---|---|---|---|---|
";

fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("ms") => "ms",
        Some("bytes") => "B",
        _ => "",
    }
}

fn page(described: &[Description]) -> String {
    let labels: BTreeMap<_, _> = LABELS.iter().map(|row| (row.name, row)).collect();
    let mut page = HEAD.to_owned();
    for Description { name, kind, help, bounds } in described {
        let row = labels.get(name.as_str()).unwrap_or_else(|| {
            panic!("{name} is registered, but proxy/tests/proxy/observability/labels.rs does not say which labels it has")
        });
        let list: Vec<_> = row.labels.iter().flat_map(|set| *set).map(|label| format!("`{label}`")).collect();
        let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
        let buckets =
            if bounds.is_empty() { String::new() } else { format!(" Buckets: {}.", bounds.join(", ")) };
        let help = help.trim_end_matches('.');
        writeln!(page, "| `{name}` | {kind} | {} | {} | {help}.{buckets} |", unit(name), list.join(", "))
            .unwrap();
    }
    page
}

/// A proxy in front of an application, and a client's before it, after all kinds of traffic.
async fn busy() -> [Proxy; 3] {
    let (mesh, app) = (Mesh::new().await, app::http().await);
    let log = Some(Box::new(std::io::sink()) as Box<dyn std::io::Write + Send>);
    let settings = [("ACCESS_LOG", "json")];
    let server = mesh.proxy(Setup { app, settings: &settings, access_log: log, ..Setup::default() }).await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, app)]).await;
    let outbound = VIRTUAL.parse().unwrap();
    let client = mesh.proxy(Setup { identity: CLIENT, outbound, ..Setup::default() }).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::post("/echo").header("host", "web").body(Full::from("body")).unwrap();
        let response = send(client.out().await, version, request).await.unwrap();
        response.into_body().collect().await.unwrap();
        get(server.plain().await, version, "/").await;
    }
    crate::peers::exchange(&mut server.plain().await, "GET / HTTP/1.1\r\n\r\n", "").await;
    [client, server, crate::tls::busy().await]
}

/// The label names of every series in a scrape, by family.
fn seen(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut histograms = BTreeSet::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" histogram")) {
            histograms.insert(family.to_owned());
        }
        let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) else { continue };
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let name = base.filter(|base| histograms.contains(*base)).unwrap_or(name);
        let names = seen.entry(name.to_owned()).or_default();
        let mut rest = rest;
        while let Some((label, after)) = rest.split_once("=\"") {
            names.insert(label.to_owned());
            let mut end = 0;
            let bytes = after.as_bytes();
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            rest = after[end + 1..].trim_start_matches(',');
        }
        names.remove("le");
    }
    seen
}

#[tokio::test]
async fn the_metrics_page_says_what_a_proxy_registers() {
    let proxies = busy().await;
    let mut described: BTreeMap<String, Description> = BTreeMap::new();
    for proxy in &proxies {
        described.extend(proxy.registry.describe().into_iter().map(|d| (d.name.clone(), d)));
    }
    let unknown: Vec<_> =
        LABELS.iter().map(|row| row.name).filter(|name| !described.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "labels.rs has families that nobody registers: {unknown:?}");
    let described: Vec<_> = described.into_values().collect();
    let made = page(&described);
    let path = Path::new(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == made,
        "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test -p mesh-proxy metrics_page"
    );
    for proxy in &proxies {
        let (_, text) = proxy.admin("/metrics").await;
        for (name, labels) in seen(&text) {
            let row = LABELS
                .iter()
                .find(|row| row.name == name)
                .unwrap_or_else(|| panic!("{name} is not in labels.rs"));
            let known = |label: &String| {
                row.labels.iter().flat_map(|set| *set).any(|known| match known.strip_suffix('*') {
                    Some(start) => label.starts_with(start),
                    None => label == known,
                })
            };
            let unknown: Vec<_> = labels.iter().filter(|label| !known(label)).collect();
            assert!(unknown.is_empty(), "labels.rs does not know these labels of {name}: {unknown:?}");
        }
    }
}
