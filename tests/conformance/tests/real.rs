//! The recording is what a real API server answers. `cargo xtask conformance api` runs this; with `ISTHMUS_REGENERATE` set
//! the recording is renewed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_conformance::{Real, Rules, differences, plays, recorded, replay, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd, kube-apiserver and kube-controller-manager: cargo xtask conformance api"]
async fn the_real_server_answers_as_recorded() {
    let regenerate = std::env::var_os("ISTHMUS_REGENERATE").is_some();
    let server = Real::start().await.unwrap();
    let http = server.http().unwrap();
    let rules = Rules::read().unwrap().between_real_servers();
    let mut wrong = Vec::new();
    for play in &plays().unwrap() {
        match replay(play, &http).await {
            Ok(answered) if regenerate => write(play, &answered).unwrap(),
            Ok(answered) => match recorded(play) {
                Ok(recorded) => wrong.extend(differences(&rules, play, &recorded, &answered).unwrap()),
                Err(error) => wrong.push(format!("{error:#}")),
            },
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
