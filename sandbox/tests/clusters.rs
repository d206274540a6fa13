//! Two clusters as the host and each other see them. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test's helpers may panic

#[path = "support/bed.rs"]
mod bed;

use std::time::{Duration, Instant};

use bed::{eventually, up};

#[test]
fn two_clusters_come_up_quickly_and_reach_each_other_until_partitioned() {
    let began = Instant::now();
    let bed = up(&["east", "west"]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "up took {took:?}");
    let status = bed.sandbox.status().unwrap();
    assert_eq!(status.clusters.len(), 2);
    assert!(status.clusters.iter().all(|cluster| cluster.node_ready && cluster.api_serving));
    assert!(bed.kubectl("west", &["get", "nodes"]).contains("Ready"));
    assert!(
        bed.kubectl("east", &["-n", "kube-public", "get", "configmap", "cluster-info", "-o", "yaml"])
            .contains("https://198.18.1.2:6443")
    );

    let reaches = |address: &str| {
        let script = format!("exec 3<>/dev/tcp/{address}");
        let output =
            bed.sandbox.exec("east", None, &["timeout", "1", "bash", "-c", &script.replace(':', "/")]);
        output.unwrap().code == Some(0)
    };
    assert!(reaches("198.18.2.2:6443"), "the other cluster's API");
    assert!(reaches("10.43.0.1:443"), "the own API");
    bed.sandbox.partition("east", "west").unwrap();
    assert!(!reaches("198.18.2.2:6443"));
    bed.sandbox.heal().unwrap();
    assert!(reaches("198.18.2.2:6443"));
    // A connection that is open when the API stops ends by itself: nothing is sent on it.
    let held = std::thread::spawn({
        let sandbox = bed.sandbox.clone();
        move || {
            sandbox.exec(
                "east",
                None,
                &["timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/198.18.2.2/6443; cat <&3"],
            )
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    bed.sandbox.stop_api("west").unwrap();
    assert_ne!(held.join().unwrap().unwrap().code, Some(124), "the open connection was not cut");
    assert!(!reaches("198.18.2.2:6443"));
    bed.sandbox.start_api("west").unwrap();
    assert!(reaches("198.18.2.2:6443"));
}

#[test]
fn a_slow_link_is_slow_in_the_direction_asked_for() {
    let bed = up(&["east", "west"]);
    let round_trip = || {
        let began = Instant::now();
        let output = bed.sandbox.exec("east", None, &["bash", "-c", "exec 3<>/dev/tcp/198.18.2.2/6443"]);
        assert_eq!(output.unwrap().code, Some(0));
        began.elapsed()
    };
    round_trip();
    let direct = round_trip();
    bed.sandbox.latency("east", "west", Duration::from_millis(150)).unwrap();
    let slow = round_trip();
    assert!(slow >= Duration::from_millis(150), "{slow:?}");
    bed.sandbox.heal().unwrap();
    eventually("the link to be quick again", Duration::from_secs(30), || {
        (round_trip() < direct + Duration::from_millis(100)).then_some(())
    });
}
