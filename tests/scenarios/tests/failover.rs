//! A federated service is served at home while that works, and elsewhere within a second when it does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, eventually, shop_in};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::linked);

const RATE: u64 = 500;

struct Load<'a>(&'a Cluster, &'a str);

impl Load<'_> {
    fn deploy(&self) {
        let manifests = include_str!("../../../demo/manifests/load.yaml")
            .replace("namespace: shop", &format!("namespace: {}", self.1))
            .replace("web:80", "catalog-federated:80")
            .replace("\"0\"]", "\"0\", --path, /items]");
        self.0.apply(&manifests).unwrap();
        self.0.rolled_out(self.1, "load").unwrap();
    }

    fn get(&self, path: &str) -> Value {
        let called = self.0.call(self.1, "load", &[&format!("localhost:8080{path}")]).unwrap();
        assert!(called.ok(), "{}", called.0);
        serde_json::from_str(called.body()).unwrap()
    }

    fn now(&self) -> u64 {
        self.get("/now").as_u64().unwrap()
    }

    fn stats(&self, since: u64) -> Value {
        self.get(&format!("/stats?since={since}"))
    }
}

/// Answers of a cluster in a summary.
fn count(stats: &Value, cluster: &str) -> u64 {
    stats["clusters"][cluster]["count"].as_u64().unwrap_or(0)
}

#[test]
fn loss_of_the_local_service_costs_no_more_than_what_was_in_flight_and_it_comes_back() {
    let ns = "failover";
    let east = &FLEET.east;
    for cluster in FLEET.both() {
        shop_in(cluster, ns).unwrap();
        cluster
            .kubectl(&["-n", ns, "label", "service", "catalog", "mirror.linkerd.io/federated=member"])
            .unwrap();
    }
    eventually("east has the federated service", || {
        east.get(&["-n", ns, "service", "catalog-federated"]).map(drop)
    });
    eventually("west's member is ready in east", || {
        let slice = east.get(&["-n", ns, "endpointslice", "catalog-federated-west"])?;
        anyhow::ensure!(slice["endpoints"][0]["conditions"]["ready"] == true, "{slice}");
        Ok(())
    });
    let load = Load(east, ns);
    load.deploy();
    load.get(&format!("/rate?rps={RATE}"));
    eventually("steady load is served by east alone", || {
        let since = load.now();
        std::thread::sleep(Duration::from_secs(1));
        let stats = load.stats(since);
        if stats["failed"] == 0 && count(&stats, "east") > 0 && count(&stats, "west") == 0 {
            Ok(())
        } else {
            Err(stats)
        }
    });

    let pod = east.pod(ns, "catalog").unwrap();
    let lost = load.now();
    east.kubectl(&["-n", ns, "scale", "deployment/catalog", "--replicas=0"]).unwrap();
    // The pod may be gone already: it was asked to end a moment ago.
    drop(east.kubectl(&["-n", ns, "delete", "pod", &pod, "--grace-period=0", "--force"]));
    eventually("load is served by west alone", || {
        let since = load.now();
        std::thread::sleep(Duration::from_secs(1));
        let stats = load.stats(since);
        if stats["failed"] == 0 && count(&stats, "west") > 0 && count(&stats, "east") == 0 {
            Ok(())
        } else {
            Err(stats)
        }
    });
    let during = load.stats(lost);
    println!("failed during the loss: {} of {}", during["failed"], during["total"]);
    assert!(during["failed"].as_u64().unwrap() <= 5, "{during}");
    let gap = during["clusters"]["west"]["first_ms"].as_u64().unwrap() - lost;
    println!("first answer from west after {gap} ms");

    let back = load.now();
    east.kubectl(&["-n", ns, "scale", "deployment/catalog", "--replicas=1"]).unwrap();
    east.rolled_out(ns, "catalog").unwrap();
    eventually("load is served by east again", || {
        let since = load.now();
        std::thread::sleep(Duration::from_secs(1));
        let stats = load.stats(since);
        if stats["failed"] == 0 && count(&stats, "east") > 50 * count(&stats, "west") {
            Ok(())
        } else {
            Err(stats)
        }
    });
    let during = load.stats(back);
    assert_eq!(during["failed"], 0, "{during}");
    load.get("/rate?rps=0");
}
