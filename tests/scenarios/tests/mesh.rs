//! One cluster: injection, mTLS between all pairs, authorization, every protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Fleet, eventually, shop_in};
use std::sync::LazyLock;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::meshed);

#[test]
fn injected_pods_talk_mtls_and_no_plaintext_leaves_them() {
    let (fleet, ns) = (&*FLEET, "mtls");
    let east = &fleet.east;
    shop_in(east, ns).unwrap();
    // A visit of web goes to catalog (HTTP/1.1), from there to pricing (gRPC), and to ledger (TCP).
    east.call_ok(ns, "web", &["localhost:8080/"]);
    // Of each pair, the wire is looked at where it is served.
    let captures = ["web", "catalog", "pricing", "ledger"].map(|app| {
        let file = fleet.scratch(&format!("{app}.pcap"));
        let pod = east.pod(ns, app).unwrap();
        (app, fleet.faults().capture("east", ns, &pod, &file).unwrap(), file)
    });
    for _ in 0..20 {
        let called = east.call_ok(ns, "web", &["localhost:8080/"]);
        assert!(called.body().contains("lantern"));
    }
    for (app, capture, file) in captures {
        let packets = capture.end().unwrap();
        assert!(packets > 20, "the capture of {app} saw only {packets} packets");
        let bytes = std::fs::read(file).unwrap();
        // The node's probes of `/ready` are plaintext, as kubelets' are; nothing of a call may be.
        for word in ["lantern", "/items", "visit"] {
            let found = bytes.windows(word.len()).any(|w| w == word.as_bytes());
            assert!(!found, "{word:?} was readable on the wire of {app}");
        }
    }
    for (server, client, series) in [
        ("catalog", "web", "response_total"),
        ("pricing", "catalog", "response_total"),
        ("ledger", "web", "tcp_open_total"),
    ] {
        let id = format!("client_id=\"{client}.{ns}.serviceaccount.identity.linkerd.cluster.local\"");
        let counted = |l: &str| l.starts_with(series) && l.contains(&id) && l.contains("tls=\"true\"");
        // Counters are merged at scrape, so the latest calls may show a moment later.
        eventually(&format!("{server}'s proxy counts the identity of {client}"), || {
            let metrics = east.proxy_metrics(ns, server).map_err(|e| format!("{e:#}"))?;
            if metrics.lines().any(counted) { Ok(()) } else { Err(metrics) }
        });
    }
}

#[test]
fn every_protocol_passes_between_meshed_pods() {
    let (east, ns) = (&FLEET.east, "protocols");
    shop_in(east, ns).unwrap();
    assert_eq!(east.call_ok(ns, "web", &["catalog:80/items"]).cluster(), Some("east"));
    // The port of `web` names no appProtocol, so that it is found out; `http` would promise HTTP/1.
    assert_eq!(east.call_ok(ns, "catalog", &["--protocol=h2", "web:80/"]).status(), Some(200));
    assert_eq!(east.call_ok(ns, "web", &["--protocol=grpc-quote", "pricing:50051"]).body(), "[700, 400]");
    let followed = east.call_ok(ns, "web", &["--protocol=grpc-follow", "--count=5", "pricing:50051"]);
    assert_eq!(followed.body(), "[[700], [700], [700], [700], [700]]");
    let ledger = east.call_ok(ns, "web", &["--protocol=ledger", "ledger:7000"]);
    assert_eq!(ledger.body(), "ledger east", "the server speaks first");
}

#[test]
fn unmeshed_clients_are_refused_under_all_authenticated() {
    let (east, ns) = (&FLEET.east, "strict");
    shop_in(east, ns).unwrap();
    let plain = "plain";
    let unmeshed = mesh_scenarios::SHOP
        .replace("namespace: shop", &format!("namespace: {plain}"))
        .replace("name: shop", &format!("name: {plain}"))
        .replace("linkerd.io/inject: enabled", "linkerd.io/inject: disabled");
    east.apply(&unmeshed).unwrap();
    east.rolled_out(plain, "web").unwrap();
    let target = format!("catalog.{ns}:80/items");
    east.call_ok(plain, "web", &[&target]);
    let annotation = "config.linkerd.io/default-inbound-policy=all-authenticated";
    east.kubectl(&["annotate", "namespace", ns, annotation]).unwrap();
    east.kubectl(&["-n", ns, "rollout", "restart", "deployment/catalog"]).unwrap();
    east.rolled_out(ns, "catalog").unwrap();
    east.call_ok(ns, "web", &[&target]);
    let refused = eventually("the unmeshed client gets 403", || {
        let called = east.call(plain, "web", &[&target]).map_err(|e| format!("{e:#}"))?;
        if called.status() == Some(403) { Ok(called) } else { Err(called.0.to_string()) }
    });
    assert!(!refused.ok());
}

#[test]
fn every_container_of_the_control_plane_is_ready_and_meshed() {
    let pods = FLEET.east.get(&["-n", "linkerd", "pods"]).unwrap();
    let items = pods["items"].as_array().unwrap();
    assert!(items.len() >= 3);
    for pod in items {
        let text = pod.to_string();
        assert!(text.contains("linkerd-proxy"), "{} has no proxy", pod["metadata"]["name"]);
    }
}
