//! What only real machines do: API servers and nodes that go away, evictions, restarts and upgrades under load.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, Load, answers, eventually, shop_in, within};
use serde_json::Value;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Both clusters run the shop in [`NS`]; west's catalog is exported, and a member of the federated service; load runs
/// in east.
static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let fleet = Fleet::linked();
    std::thread::scope(|scope| {
        for cluster in fleet.both() {
            scope.spawn(|| {
                shop_in(cluster, NS).unwrap();
                label(cluster, "catalog", "mirror.linkerd.io/federated=member");
            });
        }
    });
    label(&fleet.west, "catalog", "mirror.linkerd.io/exported=true");
    fleet
});

static TURN: Mutex<()> = Mutex::new(());

const NS: &str = "outages";
const MC: &str = "linkerd-multicluster";
const MIRRORED: &str = "catalog-west:80/items";

/// A node and everything on it takes this long to come back at most.
const REBOOT: Duration = Duration::from_secs(240);

/// Requests a second.
const RATE: u64 = 100;

fn take_turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    crosses_within(REBOOT);
    turn
}

fn label(cluster: &Cluster, service: &str, label: &str) {
    cluster.kubectl(&["-n", NS, "label", "--overwrite", "service", service, label]).unwrap();
}

fn crosses_within(patience: Duration) {
    within(patience, "a call crosses the gateway", || {
        let called = FLEET.east.call(NS, "web", &[MIRRORED]).map_err(|e| format!("{e:#}"))?;
        if called.ok() && called.cluster() == Some("west") { Ok(()) } else { Err(called.0.to_string()) }
    });
}

/// Load on a service from east, already without failures, and the clock.
fn load_on(target: &str) -> (Load<'static>, u64) {
    let load = Load::deploy(&FLEET.east, NS, target, "/items").unwrap();
    load.rate(RATE).unwrap();
    let since = load.settles("steady load", |_| true);
    (load, since)
}

/// Nothing failed since then; answers with the summary.
fn none_failed(load: &Load, since: u64) -> Value {
    let stats = load.stats(since).unwrap();
    println!("{} requests, {} failed, p99 {} µs", stats["total"], stats["failed"], stats["p99_us"]);
    load.rate(0).unwrap();
    assert_eq!(stats["failed"], 0, "{stats}");
    assert!(stats["total"].as_u64().unwrap() > RATE, "{stats}");
    stats
}

/// The mesh's own images in a list of pods.
fn images(pods: &Value) -> impl Iterator<Item = &str> {
    let specs = pods["items"].as_array().into_iter().flatten().map(|pod| &pod["spec"]);
    let containers = specs.flat_map(|spec| [&spec["initContainers"], &spec["containers"]]);
    let images = containers.filter_map(Value::as_array).flatten().filter_map(|c| c["image"].as_str());
    images.filter(|image| image.starts_with("isthmus/") && !image.starts_with("isthmus/demo:"))
}

fn control_plane_rolls_out(cluster: &Cluster) {
    for deployment in ["linkerd-identity", "linkerd-destination", "linkerd-proxy-injector"] {
        cluster.rolled_out("linkerd", deployment).unwrap();
    }
}

#[test]
#[ignore = "needs a real API server: cargo xtask kind test"]
fn an_outage_of_the_api_server_costs_no_request() {
    let _turn = take_turn();
    let (east, node) = (&FLEET.east, FLEET.kind().control_plane("east").unwrap());
    let (load, since) = load_on("catalog:80");
    node.stop_api_server().unwrap();
    let away = format!("{:#}", east.get(&["namespaces"]).unwrap_err());
    // The load has been going on without an API server since; it goes on for a while with none.
    std::thread::sleep(Duration::from_secs(15));
    node.start_api_server().unwrap();
    within(REBOOT, "the API server is back", || east.kubectl(&["get", "--raw", "/readyz"]));
    assert!(away.contains("refused") || away.contains("connect"), "{away}");
    within(REBOOT, "news arrive again: a new pod serves", || {
        east.kubectl(&["-n", NS, "rollout", "restart", "deployment/catalog"])?;
        east.rolled_out(NS, "catalog")
    });
    none_failed(&load, since);
}

#[test]
#[ignore = "needs real nodes: cargo xtask kind test"]
fn a_drained_node_takes_its_gateway_away_and_brings_it_back() {
    let _turn = take_turn();
    let (west, node) = (&FLEET.west, FLEET.kind().control_plane("west").unwrap().name);
    let (load, since) = load_on("catalog-federated:80");
    let drain = ["drain", &node, "--pod-selector=app=linkerd-gateway", "--timeout=120s"];
    let all = ["--delete-emptydir-data", "--ignore-daemonsets"];
    west.kubectl(&[&drain[..], &all].concat()).unwrap();
    eventually("a call of the mirrored service fails with a reason", || {
        let called = FLEET.east.call(NS, "web", &[MIRRORED]).map_err(|e| format!("{e:#}"))?;
        let refused = called.status().is_some_and(|s| (502..=504).contains(&s));
        if refused && !called.reason().is_empty() { Ok(()) } else { Err(called.0.to_string()) }
    });
    west.kubectl(&["uncordon", &node]).unwrap();
    west.rolled_out(MC, "linkerd-gateway").unwrap();
    crosses_within(Duration::from_secs(60));
    let stats = none_failed(&load, since);
    assert_eq!(answers(&stats, "west"), 0, "east had its own all the time: {stats}");
}

#[test]
#[ignore = "needs a real kubelet: cargo xtask kind test"]
fn a_rolling_restart_of_the_control_plane_costs_no_request() {
    let _turn = take_turn();
    let (load, since) = load_on("catalog-federated:80");
    let restart = ["-n", "linkerd", "rollout", "restart", "deployment"];
    std::thread::scope(|scope| {
        for cluster in FLEET.both() {
            scope.spawn(|| {
                cluster.kubectl(&restart).unwrap();
                control_plane_rolls_out(cluster);
            });
        }
    });
    let catalog = ["-n", NS, "rollout", "restart", "deployment/catalog"];
    FLEET.east.kubectl(&catalog).unwrap();
    FLEET.east.rolled_out(NS, "catalog").unwrap();
    load.settles("the new pod serves", |stats| answers(stats, "east") > 0);
    none_failed(&load, since);
}

#[test]
#[ignore = "needs images of another version: cargo xtask kind test"]
fn an_upgrade_under_load_costs_no_request() {
    let _turn = take_turn();
    let short = ["version", "--client", "--short"];
    let next = FLEET.east.next_meshctl(&short).unwrap().trim().to_owned();
    assert_ne!(next, FLEET.east.meshctl(&short).unwrap().trim());
    let (load, since) = load_on("catalog-federated:80");
    std::thread::scope(|scope| {
        for cluster in FLEET.both() {
            let next = &next;
            scope.spawn(move || {
                for step in [&["upgrade", "--crds"][..], &["upgrade"]] {
                    cluster.apply(&cluster.next_meshctl(step).unwrap()).unwrap();
                }
                control_plane_rolls_out(cluster);
                let told = format!("{:?}", cluster.next_meshctl(&["-n", NS, "check", "--proxy"]));
                assert!(told.contains(&format!("not {next}: ")), "{told}");
                let extension = cluster.next_meshctl(&["multicluster", "install"]).unwrap();
                cluster.apply(&extension).unwrap();
                for deployment in ["linkerd-gateway", "linkerd-service-mirror"] {
                    cluster.rolled_out(MC, deployment).unwrap();
                }
                // Then the data plane, one workload after the other.
                for deployment in ["pricing", "ledger", "catalog", "web"] {
                    let target = format!("deployment/{deployment}");
                    cluster.kubectl(&["-n", NS, "rollout", "restart", &target]).unwrap();
                    cluster.rolled_out(NS, deployment).unwrap();
                }
            });
        }
    });
    crosses_within(Duration::from_secs(60));
    none_failed(&load, since);
    for cluster in FLEET.both() {
        for namespace in ["linkerd", MC, NS] {
            eventually("every pod runs the next version alone", || {
                let pods = cluster.get(&["-n", namespace, "pods", "-l", "app!=load"])?;
                let old = images(&pods).filter(|image| !image.ends_with(&format!(":{next}")));
                let old: Vec<&str> = old.collect();
                anyhow::ensure!(old.is_empty(), "{namespace}: {old:?}");
                Ok(())
            });
        }
    }
}

#[test]
#[ignore = "needs real nodes: cargo xtask kind test"]
fn a_node_that_restarts_brings_its_mesh_back() {
    let _turn = take_turn();
    let (west, node) = (&FLEET.west, FLEET.kind().control_plane("west").unwrap());
    let (load, since) = load_on("catalog-federated:80");
    node.restart().unwrap();
    within(REBOOT, "the API server is back", || west.kubectl(&["get", "--raw", "/readyz"]));
    within(REBOOT, "west's own pods talk again", || {
        let called = west.call(NS, "web", &["catalog:80/items"]).map_err(|e| format!("{e:#}"))?;
        if called.ok() { Ok(()) } else { Err(called.0.to_string()) }
    });
    crosses_within(REBOOT);
    let stats = none_failed(&load, since);
    assert_eq!(answers(&stats, "west"), 0, "east had its own all the time: {stats}");
}
