//! Proxies go by intent: the client's is started again, and a server's is drained while its pod is replaced.

use super::{ALL, ANY, Fault, as_usual, cover, promise};
use crate::scene::Scene;
use anyhow::{Result, ensure};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How long a proxy may take to drain: its grace period, and a moment.
const DRAINED: Duration = Duration::from_secs(40);

pub(super) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "client-proxy-restarted",
            what: "the client's proxy is killed and started again, as its container would be",
            promise: promise(
                "connections of the client break with its proxy, and are refused until the next one is ready",
                2,
                vec![cover(
                    ALL,
                    &[
                        "closed",
                        "reset",
                        "connect: ",
                        "body:",
                        "Broken pipe",
                        "the stream",
                        "broken pipe",
                        "connections end",
                    ],
                    ANY,
                )],
            ),
            setup: as_usual,
            run: restarted,
        },
        Fault {
            name: "rollout",
            what: "both endpoints are replaced, one after the other: a new one is listed, the old one is left out and drained",
            promise: promise(
                "none: a proxy that drains serves what it has, and connections that clients close in time end by \
                 themselves",
                2,
                Vec::new(),
            ),
            setup: as_usual,
            run: rollout,
        },
    ]
}

fn restarted(scene: &mut Scene) -> Result<()> {
    let killed = Instant::now();
    scene.begin();
    scene.client.kill();
    scene.restart_client()?;
    scene.end();
    scene.notes.push(format!("it was ready again after {:.2} s", killed.elapsed().as_secs_f64()));
    Ok(())
}

fn rollout(scene: &mut Scene) -> Result<()> {
    scene.begin();
    let mut serving = [0, 1];
    for place in 0..serving.len() {
        let (old, new) = (serving[place], scene.add_server()?);
        serving[place] = new;
        scene.serve_from(&serving);
        // Endpoint and processes are told at the same time; the proxy outlives connections that are under way.
        let proxy = &mut scene.servers[old].proxy;
        let told = Instant::now();
        proxy.signal(Signal::TERM)?;
        ensure!(proxy.ends_within(DRAINED), "the proxy did not end\n{}", proxy.said());
        scene.notes.push(format!("a proxy drained for {:.1} s", told.elapsed().as_secs_f64()));
        scene.servers[old].app.kill();
    }
    scene.end();
    Ok(())
}
