//! What happens to one of two endpoints: it is killed, its application is, it hangs, it breaks off its answers.

use super::{ANY, BROKEN, BYTES, CUT, Fault, ONCE, as_usual, cover, lane, promise};
use crate::scene::Scene;
use crate::traffic::{KEPT, Kind};
use anyhow::Result;
use rustix::process::Signal;

/// Requests of a kind that may be under way with one endpoint at a moment: at these rates it is rarely more than one.
const UNDER_WAY: usize = 10;
/// Endpoints are listed for as long after they have gone, as where nobody has noticed.
const LISTED: u64 = 3;
/// Broken answers a second.
const BREAKING: u32 = 20;

pub(super) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "endpoint-killed",
            what: "application and proxy of one of two endpoints are killed, and stay listed for three seconds",
            promise: promise(
                "what was under way with the endpoint and may not be repeated (POST, gRPC, answers that had begun, \
                 open opaque connections) breaks with it, once; whatever may be repeated goes elsewhere",
                2,
                vec![cover(ONCE, BROKEN, UNDER_WAY), cover(BYTES, CUT, KEPT as usize)],
            ),
            setup: as_usual,
            run: killed,
        },
        Fault {
            name: "application-killed",
            what: "the application of one of two endpoints is killed, its proxy lives and stays listed",
            promise: promise(
                "what was under way and may not be repeated breaks, once, open opaque connections too; the endpoint's \
                 proxy says of new ones that nobody listens, before anything is sent, and they go elsewhere",
                2,
                vec![cover(ONCE, BROKEN, UNDER_WAY), cover(BYTES, CUT, KEPT as usize + UNDER_WAY)],
            ),
            setup: as_usual,
            run: application_killed,
        },
        Fault {
            name: "endpoint-hung",
            what: "the application of one of two endpoints is stopped (SIGSTOP), and continued",
            promise: promise(
                "none: no timeout is set, so the few requests that the endpoint has wait until it goes on; others \
                 avoid it, as its requests in flight weigh against it",
                2,
                Vec::new(),
            ),
            setup: as_usual,
            run: hung,
        },
        Fault {
            name: "reset-in-body",
            what: "an application resets connections in the middle of its answers, to HTTP/1 and HTTP/2 clients",
            promise: promise(
                "each of these answers is broken off for the client too, never passed off as whole; no other request \
                 is touched",
                1,
                vec![cover(&[Kind::ResetHttp1, Kind::ResetHttp2], &["body:", "request failed"], ANY)],
            ),
            setup: as_usual,
            run: reset,
        },
    ]
}

fn killed(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.servers[0].proxy.kill();
    scene.servers[0].app.kill();
    scene.end();
    scene.go_on(scene.span(LISTED, LISTED));
    scene.serve_from(&[1]);
    Ok(())
}

fn application_killed(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.servers[0].app.kill();
    scene.go_on(scene.span(LISTED, LISTED));
    scene.restart_app(0)?;
    scene.end();
    Ok(())
}

fn hung(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.servers[0].app.signal(Signal::STOP)?;
    scene.go_on(scene.span(10, 5));
    scene.servers[0].app.signal(Signal::CONT)?;
    scene.end();
    Ok(())
}

fn reset(scene: &mut Scene) -> Result<()> {
    scene.begin();
    scene.also(vec![lane(Kind::ResetHttp1, BREAKING), lane(Kind::ResetHttp2, BREAKING)])?;
    scene.go_on(scene.span(5, 3));
    scene.end_last_load()?;
    scene.end();
    Ok(())
}
