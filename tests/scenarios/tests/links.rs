//! Two linked clusters with identical subnets: exporting, calling across the gateway, withdrawing, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, eventually, shop_in, within};
use std::sync::LazyLock;
use std::time::Duration;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::linked);

/// Withdrawal and refusal must not take longer.
const SECONDS: Duration = Duration::from_secs(5);

fn export(cluster: &Cluster, namespace: &str, service: &str) {
    let label = "mirror.linkerd.io/exported=true";
    cluster.kubectl(&["-n", namespace, "label", "service", service, label]).unwrap();
}

fn unexport(cluster: &Cluster, namespace: &str, service: &str) {
    cluster.kubectl(&["-n", namespace, "label", "service", service, "mirror.linkerd.io/exported-"]).unwrap();
}

fn mirrored(cluster: &Cluster, namespace: &str, service: &str) {
    eventually("the mirror appears", || cluster.get(&["-n", namespace, "service", service]).map(drop));
}

#[test]
fn clusters_have_the_same_subnets() {
    let subnet = |cluster: &Cluster| cluster.get(&["nodes"]).unwrap()["items"][0]["spec"]["podCIDR"].clone();
    assert_eq!(subnet(&FLEET.east), subnet(&FLEET.west));
}

#[test]
fn every_protocol_crosses_the_gateway() {
    let ns = "crossing";
    let (east, west) = (&FLEET.east, &FLEET.west);
    for cluster in FLEET.both() {
        shop_in(cluster, ns).unwrap();
    }
    for service in ["web", "catalog", "pricing", "ledger"] {
        export(west, ns, service);
        mirrored(east, ns, &format!("{service}-west"));
    }
    let called = east.call_ok(ns, "web", &["catalog-west:80/items"]);
    assert_eq!(called.cluster(), Some("west"));
    // The port of `web` names no appProtocol, so that it is found out; `http` would promise HTTP/1.
    assert_eq!(east.call_ok(ns, "catalog", &["--protocol=h2", "web-west:80/"]).cluster(), Some("west"));
    assert_eq!(
        east.call_ok(ns, "web", &["--protocol=grpc-quote", "pricing-west:50051"]).body(),
        "[700, 400]"
    );
    let followed = east.call_ok(ns, "web", &["--protocol=grpc-follow", "--count=3", "pricing-west:50051"]);
    assert_eq!(followed.body(), "[[700], [700], [700]]");
    assert_eq!(east.call_ok(ns, "web", &["--protocol=ledger", "ledger-west:7000"]).body(), "ledger west");
}

#[test]
fn a_withdrawn_service_is_gone_within_seconds_open_streams_included() {
    let ns = "withdrawn";
    let (east, west) = (&FLEET.east, &FLEET.west);
    for cluster in FLEET.both() {
        shop_in(cluster, ns).unwrap();
    }
    export(west, ns, "pricing");
    mirrored(east, ns, "pricing-west");
    east.call_ok(ns, "web", &["--protocol=grpc-quote", "pricing-west:50051"]);
    let before = eventually("the quote is counted", || {
        let metrics = east.proxy_metrics(ns, "web").map_err(|e| format!("{e:#}"))?;
        let answered = through_gateways(&metrics, "response_total{");
        if answered > 0 { Ok(through_gateways(&metrics, "request_total{")) } else { Err(metrics) }
    });
    // A stream that would last for a minute, were it not cut.
    let stream = std::thread::scope(|scope| {
        let args = ["--protocol=grpc-follow", "--count=600", "--timeout=60", "pricing-west:50051"];
        let stream = scope.spawn(move || east.call(ns, "web", &args).unwrap());
        eventually("the stream is open", || {
            let metrics = east.proxy_metrics(ns, "web").map_err(|e| format!("{e:#}"))?;
            if through_gateways(&metrics, "request_total{") > before { Ok(()) } else { Err(metrics) }
        });
        assert!(!stream.is_finished(), "the stream ended before it was cut");
        unexport(west, ns, "pricing");
        within(SECONDS, "the mirror is gone", || match east.get(&["-n", ns, "service", "pricing-west"]) {
            Ok(_) => Err("still there"),
            Err(_) => Ok(()),
        });
        within(SECONDS, "the stream is cut", || if stream.is_finished() { Ok(()) } else { Err("open") });
        stream.join().unwrap()
    });
    assert!(!stream.ok(), "the stream went on to its end: {}", stream.0);
    assert!(!east.call(ns, "web", &["--protocol=grpc-quote", "pricing-west:50051"]).unwrap().ok());
}

/// The sum of a proxy's outbound counters of one name, towards gateways.
fn through_gateways(metrics: &str, series: &str) -> u64 {
    let lines = metrics.lines().filter(|l| l.starts_with(series) && l.contains("target_port=\"4143\""));
    let counts = lines.filter(|l| l.contains("direction=\"outbound\"")).filter_map(|l| l.rsplit(' ').next());
    counts.filter_map(|n| n.parse::<u64>().ok()).sum()
}

#[test]
fn a_service_that_is_not_exported_is_refused_to_a_valid_mesh_certificate() {
    let ns = "forged";
    let (east, west) = (&FLEET.east, &FLEET.west);
    for cluster in FLEET.both() {
        shop_in(cluster, ns).unwrap();
    }
    export(west, ns, "catalog");
    mirrored(east, ns, "catalog-west");
    east.call_ok(ns, "web", &["catalog-west:80/items"]);
    // The mirror of an exported service, rewritten to name one that is not: what rights in east could do.
    let slice = east.get(&["-n", ns, "endpointslice", "catalog-west"]).unwrap();
    let note = |key: &str| slice["metadata"]["annotations"][key].as_str().unwrap().to_owned();
    let identity = note("mirror.linkerd.io/remote-gateway-identity");
    let address = slice["endpoints"][0]["addresses"][0].as_str().unwrap();
    let forged = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: forged, namespace: {ns} }}\n\
         spec: {{ ports: [{{ name: http, port: 80, appProtocol: http }}] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: forged\n  \
         namespace: {ns}\n  labels: {{ kubernetes.io/service-name: forged }}\n  annotations:\n    \
         mirror.linkerd.io/remote-gateway-identity: {identity}\n    \
         mirror.linkerd.io/remote-svc-fq-name: web.{ns}.svc.cluster.local\n\
         ports: [{{ name: http, port: 4143, protocol: TCP, appProtocol: http }}]\n\
         endpoints: [{{ addresses: [\"{address}\"], conditions: {{ ready: true }} }}]\n"
    );
    east.apply(&forged).unwrap();
    let refused = eventually("the gateway refuses", || {
        let called = east.call(ns, "web", &["forged:80/"]).map_err(|e| format!("{e:#}"))?;
        if called.status() == Some(403) { Ok(called) } else { Err(called.0.to_string()) }
    });
    assert!(!refused.ok());
}
