//! Certificates run out, and trust moves to another root.

use super::{ANY, BYTES, CUT, Fault, cover, promise};
use crate::scene::{Scene, Setup};
use anyhow::Result;
use mesh_bed::Trust;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Certificates of runs in which they change: they last for ten seconds, and are renewed after less than eight.
const SHORT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// How long a step of a rotation may take: a renewal, or a word on a stream.
const STEP: Duration = Duration::from_secs(30);
const EXPIRES: &str = "identity_cert_expiration_timestamp_seconds";
const REFRESHED: &str = "control_identity_cert_refresh_timestamp_seconds";
const REFRESHES: &str = "control_identity_cert_refreshes_total";

pub(super) fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "certificate-expires",
            what: "certificates last ten seconds; the identity service is away until all have expired, and comes back",
            promise: promise(
                "between expiry and the next renewal (attempts are at most 15 s apart) no new connection between \
                 proxies can be made: opaque connections are closed; requests on connections that are open go on",
                17,
                vec![cover(BYTES, CUT, ANY)],
            ),
            setup: short_lived,
            run: expires,
        },
        Fault {
            name: "trust-replaced",
            what: "the root is replaced: both are believed, leaves of the new one are issued, the old one is dropped",
            promise: promise(
                "none: each step waits until every proxy has taken the one before, and no connection is closed",
                2,
                Vec::new(),
            ),
            setup: short_lived,
            run: trust_replaced,
        },
    ]
}

fn short_lived(setup: &mut Setup) -> Result<Option<String>> {
    setup.lifetime = Some(SHORT);
    Ok(None)
}

fn expires(scene: &mut Scene) -> Result<()> {
    let renewals: f64 = total(scene, REFRESHES)?;
    scene.begin();
    scene.bed.control.set_identity_away(true);
    let mut last = 0.0_f64;
    for proxy in scene.proxies() {
        last = last.max(scene.metric(proxy, EXPIRES, "")?);
    }
    scene.until(STEP, "all certificates have expired", |_| now() > last + 1.0)?;
    let (failed, _) = scene.record.failed();
    scene.go_on(scene.span(5, 5));
    let (later, _) = scene.record.failed();
    scene.notes.push(format!(
        "{renewals:.0} certificates had been issued before; {failed} requests had failed a second after the last \
         expiry, {} in the five seconds after",
        later - failed
    ));
    scene.bed.control.set_identity_away(false);
    scene.end();
    Ok(())
}

fn trust_replaced(scene: &mut Scene) -> Result<()> {
    let proxies = scene.proxies().count();
    let (old, new) = (scene.bed.trust.anchors(), Trust::new()?);
    scene.begin();
    scene.bed.control.set_anchors(old + &new.anchors())?;
    let all_hold = |scene: &Scene| scene.bed.control.hold_anchors() >= proxies;
    scene.until(STEP, "every proxy believes both roots", all_hold)?;
    scene.bed.control.set_issuer(&new);
    let since = now().floor();
    scene.until(STEP, "every proxy has a certificate of the new root", |scene| {
        scene.proxies().all(|proxy| scene.metric(proxy, REFRESHED, "").is_ok_and(|at| at > since))
    })?;
    scene.bed.control.set_anchors(new.anchors())?;
    scene.until(STEP, "every proxy believes the new root only", all_hold)?;
    // New connections are made in the new trust, and certificates renewed.
    scene.go_on(scene.span(15, 9));
    scene.end();
    let renewals = total(scene, REFRESHES)?;
    scene.notes.push(format!("{renewals:.0} certificates were issued in the whole run"));
    Ok(())
}

/// The sum of a series over all proxies.
fn total(scene: &Scene, name: &str) -> Result<f64> {
    scene.proxies().map(|proxy| scene.metric(proxy, name, "")).sum()
}

/// Seconds since the Unix epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
