//! The sandbox's API server answers as the real one was recorded to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_conformance::{Rules, differences, plays, recorded, replay};
use mesh_testkit::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_answers_as_the_real_server_was_recorded_to() {
    let rules = Rules::read().unwrap();
    let mut wrong = Vec::new();
    let plays = plays().unwrap();
    assert!(!plays.is_empty());
    let cluster = Cluster::start().await.unwrap();
    let http = cluster.http().unwrap();
    for play in &plays {
        let outcome = replay(play, &http).await;
        match (outcome, recorded(play)) {
            (Ok(answered), Ok(recorded)) => {
                wrong.extend(differences(&rules, play, &recorded, &answered).unwrap());
            }
            (Err(error), _) | (_, Err(error)) => wrong.push(format!("{}: {error:#}", play.name)),
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
