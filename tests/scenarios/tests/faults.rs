//! What a link promises while something beneath it is broken: one fleet, broken and mended by one scenario at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Called, Cluster, Fleet, eventually, shop_in, within};
use serde_json::Value;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Both clusters run the shop in [`NS`]; west's catalog is exported, and a member of the federated service.
static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let fleet = Fleet::linked();
    std::thread::scope(|scope| {
        for cluster in fleet.both() {
            scope.spawn(|| {
                shop_in(cluster, NS).unwrap();
                label(cluster, NS, "catalog", "mirror.linkerd.io/federated=member");
            });
        }
    });
    label(&fleet.west, NS, "catalog", "mirror.linkerd.io/exported=true");
    fleet
});

static TURN: Mutex<()> = Mutex::new(());

const NS: &str = "faults";
const MC: &str = "linkerd-multicluster";
const MIRRORED: &str = "catalog-west:80/items";
const FEDERATED: &str = "catalog-federated:80/items";

/// What is called "within seconds".
const SECONDS: Duration = Duration::from_secs(15);

/// The fleet, whole, until the end of a scenario, which mends what it broke even when it fails.
struct Turn {
    east: &'static Cluster,
    west: &'static Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    fn take() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = Self { east: &FLEET.east, west: &FLEET.west, _turn: turn };
        assert_eq!(taken.east.call_ok(NS, "web", &[MIRRORED]).cluster(), Some("west"));
        taken
    }

    fn call(&self, target: &str) -> Called {
        self.east.call(NS, "web", &[target]).unwrap()
    }

    /// Waits for an answer from west through the gateway.
    fn crosses_within(&self, patience: Duration) {
        within(patience, "a call crosses the gateway", || {
            let called = self.call(MIRRORED);
            if called.ok() { Ok(()) } else { Err(called.0.to_string()) }
        });
    }

    /// Waits until calls of the mirrored service are refused by a proxy that says why.
    fn fails_with_a_reason(&self) {
        eventually("a call of the mirrored service fails with a reason", || {
            let called = self.call(MIRRORED);
            let refused = called.status().is_some_and(|s| (502..=504).contains(&s));
            let stated = called.0["headers"]["l5d-proxy-error"].as_str().is_some_and(|r| !r.is_empty());
            if refused && stated { Ok(()) } else { Err(called.0.to_string()) }
        });
    }

    fn served_at_home(&self, times: usize) {
        for _ in 0..times {
            let called = self.call(FEDERATED);
            assert!(called.ok() && called.cluster() == Some("east"), "{}", called.0);
        }
    }

    /// Waits for the status and reason of a condition of east's link to west.
    fn link_says(&self, kind: &str, status: &str, reason: &str) {
        eventually(&format!("the link says {kind}={status}/{reason}"), || {
            let link = self.east.get(&["-n", MC, "links.multicluster.linkerd.io", "west"])?;
            let all = link["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let one = all.iter().find(|c| c["type"] == kind).cloned().unwrap_or_default();
            anyhow::ensure!(one["status"] == status && one["reason"] == reason, "{all:?}");
            Ok(())
        });
    }

    fn scale_gateway(&self, replicas: &str) -> anyhow::Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.west.kubectl(&["-n", MC, "scale", "deployment/linkerd-gateway", &replicas])?;
        self.west.rolled_out(MC, "linkerd-gateway")
    }

    fn link(&self, more: &[&str]) -> anyhow::Result<String> {
        self.west.meshctl(&[&["multicluster", "link", "--to-context", "east"], more].concat())
    }

    fn mend(&self) -> anyhow::Result<()> {
        let faults = FLEET.faults();
        faults.heal()?;
        faults.start_api("west")?;
        self.scale_gateway("1")?;
        if self.east.get(&["-n", MC, "links.multicluster.linkerd.io", "west"]).is_err() {
            self.link(&[])?;
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.mend() {
            // A panic on the way out of a failed scenario would hide why it failed.
            eprintln!("the fleet could not be mended: {error:#}");
        }
    }
}

fn label(cluster: &Cluster, namespace: &str, service: &str, label: &str) {
    cluster.kubectl(&["-n", namespace, "label", "service", service, label]).unwrap();
}

/// Addresses of a mirror's ready endpoints.
fn ready_addresses(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|e| e["conditions"]["ready"] == true);
    ready.filter_map(|e| e["addresses"][0].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_link_to_a_gateway_dead_from_the_start_says_so_and_comes_to_life_with_it() {
    let turn = Turn::take();
    let objects = turn.east.meshctl(&["multicluster", "unlink", "--cluster-name", "west"]).unwrap();
    let file = FLEET.scratch("unlink.yaml");
    std::fs::write(&file, objects).unwrap();
    turn.east.kubectl(&["delete", "-f", file.to_str().unwrap()]).unwrap();
    within(SECONDS, "mirrors end with their link", || {
        match turn.east.get(&["-n", NS, "service", "catalog-west"]) {
            Ok(_) => Err("still there"),
            Err(_) => Ok(()),
        }
    });
    turn.served_at_home(3);
    turn.scale_gateway("0").unwrap();
    let refused = format!("{:#}", turn.link(&["--wait=0s"]).unwrap_err());
    assert!(refused.contains("0 of 0 ready") && refused.contains("--force"), "{refused}");
    turn.link(&["--wait=0s", "--force"]).unwrap();
    eventually("the mirror is there, and not ready", || {
        let slice = turn.east.get(&["-n", NS, "endpointslice", "catalog-west"])?;
        anyhow::ensure!(ready_addresses(&slice).is_empty(), "{slice}");
        Ok(())
    });
    turn.link_says("Reachable", "False", "GatewayDead");
    turn.fails_with_a_reason();
    turn.served_at_home(3);
    turn.scale_gateway("1").unwrap();
    turn.crosses_within(SECONDS);
    turn.link_says("Reachable", "True", "GatewayAlive");
}

#[test]
fn a_killed_gateway_is_back_within_seconds() {
    let turn = Turn::take();
    let pod = turn.west.pod(MC, "linkerd-gateway").unwrap();
    let restarts = || {
        let status = turn.west.get(&["-n", MC, "pod", &pod]).unwrap()["status"].take();
        let of = |kind: &str| status[kind].as_array().cloned().unwrap_or_default();
        let mut all = of("containerStatuses").into_iter().chain(of("initContainerStatuses"));
        all.find(|c| c["name"] == "linkerd-proxy").unwrap()["restartCount"].as_u64().unwrap()
    };
    let before = restarts();
    FLEET.faults().kill("west", MC, &pod, "linkerd-proxy").unwrap();
    eventually("the gateway's proxy is restarted", || {
        let count = restarts();
        if count > before { Ok(()) } else { Err(count) }
    });
    turn.crosses_within(SECONDS);
    turn.link_says("Reachable", "True", "GatewayAlive");
}

#[test]
fn mirrors_follow_a_gateway_to_its_new_address_within_seconds() {
    let turn = Turn::take();
    let address = FLEET.faults().change_address("west", MC, "linkerd-gateway").unwrap();
    for slice in ["catalog-west", "catalog-federated-west"] {
        within(SECONDS, "the mirror has the new address alone, ready", || {
            let slice = turn.east.get(&["-n", NS, "endpointslice", slice])?;
            anyhow::ensure!(ready_addresses(&slice) == [address.as_str()], "{address}: {slice}");
            Ok(())
        });
    }
    turn.crosses_within(SECONDS);
}

#[test]
fn traffic_goes_on_while_the_linked_api_is_down_and_news_comes_when_it_is_back() {
    let turn = Turn::take();
    FLEET.faults().stop_api("west").unwrap();
    turn.link_says("Synced", "False", "Stale");
    for _ in 0..5 {
        let called = turn.call(MIRRORED);
        assert_eq!(called.cluster(), Some("west"), "{}", called.0);
    }
    label(turn.west, NS, "pricing", "mirror.linkerd.io/exported=true");
    FLEET.faults().start_api("west").unwrap();
    within(SECONDS, "what was exported meanwhile is mirrored", || {
        turn.east.get(&["-n", NS, "service", "pricing-west"]).map(drop)
    });
    turn.link_says("Synced", "True", "Watching");
    turn.east.call_ok(NS, "web", &["--protocol=grpc-quote", "pricing-west:50051"]);
}

#[test]
fn a_partition_leaves_each_side_its_own_and_names_what_is_out_of_reach() {
    let turn = Turn::take();
    turn.served_at_home(1);
    FLEET.faults().partition("east", "west").unwrap();
    turn.served_at_home(5);
    turn.fails_with_a_reason();
    turn.link_says("Reachable", "False", "GatewayDead");
    turn.served_at_home(5);
    FLEET.faults().heal().unwrap();
    turn.crosses_within(SECONDS);
    turn.link_says("Synced", "True", "Watching");
    turn.link_says("Reachable", "True", "GatewayAlive");
}

#[test]
fn a_namespace_made_later_gets_the_mirrors_that_wait_for_it() {
    let (turn, ns) = (Turn::take(), "late");
    shop_in(turn.west, ns).unwrap();
    label(turn.west, ns, "catalog", "mirror.linkerd.io/exported=true");
    // A later export that east has room for shows that the earlier one has been seen.
    label(turn.west, NS, "ledger", "mirror.linkerd.io/exported=true");
    eventually("a later export is mirrored", || {
        turn.east.get(&["-n", NS, "service", "ledger-west"]).map(drop)
    });
    let absent = format!("{:#}", turn.east.get(&["namespace", ns]).unwrap_err());
    assert!(absent.contains("NotFound"), "{absent}");
    shop_in(turn.east, ns).unwrap();
    let called = turn.east.call_ok(ns, "web", &[MIRRORED]);
    assert_eq!(called.cluster(), Some("west"));
}
