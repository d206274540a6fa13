//! A federated service is served at home while that works, and elsewhere within a second when it does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Fleet, Load, answers, eventually, shop_in};
use std::sync::LazyLock;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::linked);

const RATE: u64 = 500;

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
    let load = Load::deploy(east, ns, "catalog-federated:80", "/items").unwrap();
    load.rate(RATE).unwrap();
    load.settles("steady load is served by east alone", |stats| {
        answers(stats, "east") > 0 && answers(stats, "west") == 0
    });

    let pod = east.pod(ns, "catalog").unwrap();
    let lost = load.now().unwrap();
    east.kubectl(&["-n", ns, "scale", "deployment/catalog", "--replicas=0"]).unwrap();
    // The pod may be gone already: it was asked to end a moment ago.
    drop(east.kubectl(&["-n", ns, "delete", "pod", &pod, "--grace-period=0", "--force"]));
    load.settles("load is served by west alone", |stats| {
        answers(stats, "west") > 0 && answers(stats, "east") == 0
    });
    let during = load.stats(lost).unwrap();
    println!("failed during the loss: {} of {}", during["failed"], during["total"]);
    assert!(during["failed"].as_u64().unwrap() <= 5, "{during}");
    let gap = during["clusters"]["west"]["first_ms"].as_u64().unwrap() - lost;
    println!("first answer from west after {gap} ms");

    let back = load.now().unwrap();
    east.kubectl(&["-n", ns, "scale", "deployment/catalog", "--replicas=1"]).unwrap();
    east.rolled_out(ns, "catalog").unwrap();
    load.settles("load is served by east again", |stats| {
        answers(stats, "east") > 50 * answers(stats, "west")
    });
    let during = load.stats(back).unwrap();
    assert_eq!(during["failed"], 0, "{during}");
    load.rate(0).unwrap();
}
