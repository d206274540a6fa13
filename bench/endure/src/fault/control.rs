//! The control plane goes away and comes back.

use super::{Fault, as_usual, promise};
use crate::scene::Scene;
use anyhow::Result;
use std::time::{Duration, Instant};

/// How long proxies may take to hear of a change after the control plane is back: the longest pause between attempts.
const HEARD: Duration = Duration::from_secs(15);
/// The series that counts a balancer's endpoints.
const ENDPOINTS: &str = "outbound_http_balancer_endpoints";

pub(super) fn faults() -> Vec<Fault> {
    vec![Fault {
        name: "control-plane-gone",
        what: "identity, policy and destination services are gone for ten minutes (quick: thirty seconds)",
        promise: promise(
            "none: proxies go on with the policies, endpoints and certificates they have, and hear of changes again \
             once the control plane is back",
            16,
            Vec::new(),
        ),
        setup: as_usual,
        run: gone,
    }]
}

fn gone(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.bed.control.stop();
    scene.go_on(scene.span(600, 30));
    let known = scene.metric(None, ENDPOINTS, "")?;
    for netns in [&scene.bed.client, &scene.bed.server] {
        scene.bed.control.serve_in(netns)?;
    }
    for server in &scene.servers {
        scene.bed.control.serve_in(&server.netns)?;
    }
    scene.end();
    let back = Instant::now();
    scene.serve_from(&[1]);
    scene.until(HEARD, "the client's proxy hears of a change", |scene| {
        scene.metric(None, ENDPOINTS, "").is_ok_and(|now| now < known)
    })?;
    scene.notes.push(format!("a change was heard of {:.1} s after", back.elapsed().as_secs_f64()));
    Ok(())
}
