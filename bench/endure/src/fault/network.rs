//! What happens to the network: one endpoint vanishes without a word, or all do for some seconds.

use super::{ALL, ANY, BROKEN, BYTES, CUT, Fault, ONCE, as_usual, cover, promise};
use crate::scene::Scene;
use crate::traffic::KEPT;
use anyhow::Result;

/// Requests of a kind that may be under way with an endpoint that has vanished: they add up until those in flight weigh
/// more than the other endpoint's latency.
const UNDER_WAY: usize = 40;

pub(super) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "half-open",
            what: "every packet from and to one of two endpoints is lost from now on, and it stays listed",
            promise: promise(
                "what was under way with it and may not be repeated fails once pings tell that the peer is gone \
                 (within 13 s); what may be repeated then goes elsewhere; opaque connections to it have no answer",
                25,
                vec![cover(ONCE, BROKEN, UNDER_WAY), cover(BYTES, CUT, KEPT as usize)],
            ),
            setup: as_usual,
            run: half_open,
        },
        Fault {
            name: "network-lost",
            what: "every packet between the client and all endpoints is lost for four seconds",
            promise: promise(
                "while nothing gets through, new connections cannot be made and pings may find connections dead: \
                 what may not be repeated fails with them, other requests once no endpoint is left to try",
                10,
                vec![cover(
                    ALL,
                    &[
                        "request failed",
                        "body:",
                        "the stream",
                        "grpc-status",
                        "503 ",
                        "504 ",
                        "502 ",
                        "closed",
                        "reset",
                    ],
                    ANY,
                )],
            ),
            setup: as_usual,
            run: lost,
        },
    ]
}

fn half_open(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.servers[0].cut_off()?;
    scene.end();
    Ok(())
}

fn lost(scene: &mut Scene) -> Result<()> {
    scene.begin();
    for server in &scene.servers {
        server.cut_off()?;
    }
    scene.go_on(scene.span(4, 4));
    for server in &scene.servers {
        server.join_again()?;
    }
    scene.end();
    Ok(())
}
