//! What a link says of itself in `Link.status`: pure, from what was observed to conditions with reasons.

use crate::model::{Key, Outcome};
use crate::probe::ProbeState;
use crate::writer::rfc3339;
use jiff::Timestamp;
use mesh_kube::link::{
    Condition, GatewayAddressStatus, GatewayStatus, LinkStatus, LinkSummary, ObjectRef, ServiceStatus,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The controller that Linkerd's tools look for.
const CONTROLLER: &str = "linkerd.io/service-mirror";

/// Knowledge older than this is called stale; shorter gaps are an ordinary reconnection.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// A round trip is written anew only when it changed by more than this share, so that noise is no write a probe.
const RTT_NOISE: f64 = 0.2;

/// Credentials that end sooner than this are told of as a degradation: time for two people to be on holiday.
const CREDENTIALS_NOTICE: Duration = Duration::from_secs(7 * 86_400);

/// What is known of a link that was accepted.
#[derive(Debug, Default)]
pub struct Observed {
    /// Port of the gateway.
    pub gateway_port: u16,
    /// Each address with its probes.
    pub addresses: BTreeMap<IpAddr, ProbeState>,
    /// Whether the linked cluster's API has been listed completely.
    pub synced: bool,
    /// Age of the knowledge and why it is old.
    pub stale: Option<(Duration, String)>,
    /// Exported services.
    pub mirrors: Vec<Outcome>,
    /// Members of federated services.
    pub members: Vec<Outcome>,
    /// When the linked cluster's API last answered.
    pub answered: Option<Timestamp>,
    /// An answer younger than the written one by less than this is not worth a write.
    pub freshness: Duration,
    /// When the credentials run out.
    pub credentials_expire: Option<Timestamp>,
}

/// The status of a link that cannot be worked with.
pub fn refused(error: &str, before: &LinkStatus, now: &str) -> LinkStatus {
    let mut status = LinkStatus { conditions: vec![], ..before.clone() };
    let accepted = condition("Accepted", Some(false), "Invalid", error.to_owned());
    status.conditions = settle(vec![accepted], before, now);
    status
}

/// The status of an accepted link.
pub fn of(observed: &Observed, before: &LinkStatus, now: Timestamp) -> LinkStatus {
    let text = rfc3339(now);
    let conditions = vec![
        condition("Accepted", Some(true), "Accepted", "the link and its credentials can be read".to_owned()),
        credentials(observed, now),
        trust(observed),
        reachable(observed),
        synced(observed),
        degraded(observed, now),
    ];
    let gateway = GatewayStatus {
        port: Some(observed.gateway_port),
        addresses: observed.addresses.iter().map(|(ip, probe)| address(*ip, probe, before)).collect(),
    };
    let mut status = LinkStatus {
        conditions: settle(conditions, before, &text),
        last_synced: before.last_synced.clone(),
        credentials_expire: observed.credentials_expire.map(rfc3339),
        summary: Some(summary(observed, &gateway)),
        mirror_services: services(&observed.mirrors, &before.mirror_services, &text),
        federated_services: services(&observed.members, &before.federated_services, &text),
        gateway: Some(gateway),
    };
    // Whatever else is written takes the newest time along; alone it is written now and then.
    if status != *before || is_old(before, observed) {
        status.last_synced = observed.answered.map(rfc3339).or(status.last_synced);
    }
    status
}

/// Whether the written time of the last answer is due to be written anew.
fn is_old(before: &LinkStatus, observed: &Observed) -> bool {
    let written = before.last_synced.as_ref().and_then(|t| t.parse::<Timestamp>().ok());
    match (written, observed.answered) {
        (Some(written), Some(now)) => now.duration_since(written).unsigned_abs() >= observed.freshness,
        (None, answered) => answered.is_some(),
        (Some(_), None) => false,
    }
}

fn summary(observed: &Observed, gateway: &GatewayStatus) -> LinkSummary {
    let alive = observed.addresses.values().filter(|p| p.alive == Some(true)).count();
    let rtt = gateway.nearest().and_then(|a| Some((a.rtt_p50_ms?, a.rtt_p99_ms?)));
    LinkSummary {
        mode: "gateway".to_owned(),
        alive: format!("{alive}/{}", observed.addresses.len()),
        rtt: rtt.map(|(p50, p99)| format!("{p50:.1}/{p99:.1} ms")).unwrap_or_default(),
        services: observed.mirrors.iter().chain(&observed.members).filter(|o| o.mirrored).count(),
    }
}

fn address(ip: IpAddr, probe: &ProbeState, before: &LinkStatus) -> GatewayAddressStatus {
    let address = ip.to_string();
    let known = before.gateway.as_ref().and_then(|g| g.addresses.iter().find(|a| a.address == address));
    let steady = |measured: Option<Duration>, written: fn(&GatewayAddressStatus) -> Option<f64>| {
        // Hundredths of a millisecond are enough for people.
        let measured = measured.map(|rtt| (rtt.as_secs_f64() * 100_000.0).round() / 100.0);
        match (measured, known.and_then(written)) {
            (Some(now), Some(then)) if (now - then).abs() <= then * RTT_NOISE => Some(then),
            (measured, _) => measured,
        }
    };
    GatewayAddressStatus {
        alive: probe.alive,
        rtt_ms: steady(probe.rtt, |a| a.rtt_ms),
        rtt_p50_ms: steady(probe.quantile(0.5), |a| a.rtt_p50_ms),
        rtt_p99_ms: steady(probe.quantile(0.99), |a| a.rtt_p99_ms),
        error: probe.last_error.as_ref().map(ToString::to_string),
        address,
    }
}

fn credentials(observed: &Observed, now: Timestamp) -> Condition {
    match &observed.stale {
        Some((_, why)) if why.contains("(401)") => {
            condition("CredentialsValid", Some(false), "Refused", why.clone())
        }
        Some((_, why)) if why.contains("(403)") => {
            condition("CredentialsValid", Some(false), "Forbidden", why.clone())
        }
        _ if observed.synced => {
            let until = observed.credentials_expire.map(|at| format!(" until {}", rfc3339(at)));
            let text =
                format!("the linked cluster's API accepts the credentials{}", until.unwrap_or_default());
            let reason = if expire_soon(observed, now) { "ExpireSoon" } else { "Accepted" };
            condition("CredentialsValid", Some(true), reason, text)
        }
        _ => condition(
            "CredentialsValid",
            None,
            "NotTried",
            "the linked cluster's API has not answered yet".to_owned(),
        ),
    }
}

fn expire_soon(observed: &Observed, now: Timestamp) -> bool {
    observed.credentials_expire.is_some_and(|at| {
        let left = at.duration_since(now);
        left.is_negative() || left.unsigned_abs() < CREDENTIALS_NOTICE
    })
}

fn trust(observed: &Observed) -> Condition {
    if let Some((_, bad)) = observed.addresses.iter().find(|(_, p)| p.distrusted()) {
        let why = bad.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
        return condition("TrustEstablished", Some(false), "HandshakeFailed", why);
    }
    if observed.addresses.values().any(|p| p.alive == Some(true)) {
        let text = "the gateway proves its identity under the shared trust anchors".to_owned();
        return condition("TrustEstablished", Some(true), "HandshakeSucceeded", text);
    }
    condition("TrustEstablished", None, "NotTried", "no gateway address has answered yet".to_owned())
}

fn reachable(observed: &Observed) -> Condition {
    let all = observed.addresses.len();
    let alive = observed.addresses.values().filter(|p| p.alive == Some(true)).count();
    if alive > 0 {
        return condition(
            "Reachable",
            Some(true),
            "GatewayAlive",
            format!("{alive} of {all} gateway addresses answer"),
        );
    }
    if all == 0 {
        let text =
            "the linked cluster publishes no gateway address; is its LoadBalancer Service assigned one?";
        return condition("Reachable", Some(false), "NoGatewayAddress", text.to_owned());
    }
    let errors = observed.addresses.values().filter_map(|p| p.last_error.as_ref().map(ToString::to_string));
    let errors: Vec<String> = errors.collect();
    if errors.is_empty() {
        return condition("Reachable", None, "NotProbed", "the gateway has not been probed yet".to_owned());
    }
    condition("Reachable", Some(false), "GatewayDead", errors.join("; "))
}

fn synced(observed: &Observed) -> Condition {
    match &observed.stale {
        Some((age, why)) if *age >= STALE_AFTER => {
            // Rounded to ten seconds, so that an outage is not a write a second.
            let age = age.as_secs() / 10 * 10;
            condition("Synced", Some(false), "Stale", format!("last word over {age} s ago: {why}"))
        }
        _ if observed.synced => {
            condition("Synced", Some(true), "Watching", "the linked cluster's exports are watched".to_owned())
        }
        Some((_, why)) => condition("Synced", Some(false), "NotListed", why.clone()),
        None => {
            condition("Synced", None, "Listing", "the linked cluster's exports are being listed".to_owned())
        }
    }
}

fn degraded(observed: &Observed, now: Timestamp) -> Condition {
    let all = observed.addresses.len();
    let count = |which: fn(&ProbeState) -> bool| observed.addresses.values().filter(|p| which(p)).count();
    let (dead, doubtful) = (count(|p| p.alive == Some(false)), count(ProbeState::in_doubt));
    let stale = observed.stale.as_ref().is_some_and(|(age, _)| *age >= STALE_AFTER);
    let refused = observed.mirrors.iter().chain(&observed.members).filter(|o| !o.mirrored).count();
    let mut parts = Vec::new();
    if dead > 0 {
        parts.push(format!("{dead} of {all} gateway addresses do not answer"));
    }
    if doubtful > 0 {
        parts.push(format!("{doubtful} of {all} gateway addresses failed the last probe"));
    }
    if stale {
        parts.push("the knowledge of exports is stale".to_owned());
    }
    if refused > 0 {
        parts.push(format!("{refused} services cannot be mirrored"));
    }
    if let Some(at) = observed.credentials_expire.filter(|_| expire_soon(observed, now)) {
        parts.push(format!("the credentials end at {}; link again for new ones", rfc3339(at)));
    }
    if parts.is_empty() {
        return condition("Degraded", Some(false), "AsExpected", "nothing is missing".to_owned());
    }
    condition("Degraded", Some(true), "PartsMissing", parts.join(", "))
}

fn condition(type_: &str, value: Option<bool>, reason: &str, message: String) -> Condition {
    let status = value.map_or("Unknown", |v| if v { "True" } else { "False" });
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        ..Condition::default()
    }
}

/// Times of transition: kept while the status of a condition stays the same.
fn settle(conditions: Vec<Condition>, before: &LinkStatus, now: &str) -> Vec<Condition> {
    let settled = conditions.into_iter().map(|mut condition| {
        let same =
            before.conditions.iter().find(|b| b.type_ == condition.type_ && b.status == condition.status);
        condition.last_transition_time = same.map_or(now, |b| b.last_transition_time.as_str()).to_owned();
        condition
    });
    settled.collect()
}

fn services(outcomes: &[Outcome], before: &[ServiceStatus], now: &str) -> Vec<ServiceStatus> {
    let status = outcomes.iter().map(|outcome| {
        let remote_ref = service_ref(&outcome.remote);
        let value = if outcome.mirrored { "True" } else { "False" };
        let known = before.iter().find(|b| b.remote_ref == remote_ref).and_then(|b| b.conditions.first());
        let since = known.filter(|k| k.status == value).map_or(now, |k| k.last_transition_time.as_str());
        let condition = Condition {
            type_: "Mirrored".to_owned(),
            status: value.to_owned(),
            reason: outcome.reason.to_owned(),
            message: outcome.message.clone(),
            last_transition_time: since.to_owned(),
            local_ref: outcome.local.as_ref().map(service_ref),
            observed_generation: None,
        };
        ServiceStatus { controller_name: CONTROLLER.to_owned(), remote_ref, conditions: vec![condition] }
    });
    status.collect()
}

fn service_ref(key: &Key) -> ObjectRef {
    ObjectRef {
        group: String::new(),
        kind: "Service".to_owned(),
        name: key.name.clone(),
        namespace: key.namespace.clone(),
    }
}

#[cfg(test)]
mod tests;
