//! What a link says of itself in `Link.status`: pure, from what was observed to conditions with reasons.

use crate::model::{Key, Outcome};
use crate::probe::ProbeState;
use mesh_kube::link::{
    GatewayAddressStatus, GatewayStatus, LinkCondition, LinkStatus, RemoteRef, ServiceCondition,
    ServiceStatus,
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
}

/// The status of a link that cannot be worked with.
pub fn refused(error: &str, before: &LinkStatus, now: &str) -> LinkStatus {
    let mut status = LinkStatus { conditions: vec![], ..before.clone() };
    let accepted = condition("Accepted", Some(false), "Invalid", error.to_owned());
    status.conditions = settle(vec![accepted], before, now);
    status
}

/// The status of an accepted link.
pub fn of(observed: &Observed, before: &LinkStatus, now: &str) -> LinkStatus {
    let conditions = vec![
        condition("Accepted", Some(true), "Accepted", "the link and its credentials can be read".to_owned()),
        credentials(observed),
        trust(observed),
        reachable(observed),
        synced(observed),
        degraded(observed),
    ];
    LinkStatus {
        conditions: settle(conditions, before, now),
        mirror_services: services(&observed.mirrors, &before.mirror_services, now),
        federated_services: services(&observed.members, &before.federated_services, now),
        gateway: Some(GatewayStatus {
            port: Some(observed.gateway_port),
            addresses: observed.addresses.iter().map(|(ip, probe)| address(*ip, probe, before)).collect(),
        }),
    }
}

fn address(ip: IpAddr, probe: &ProbeState, before: &LinkStatus) -> GatewayAddressStatus {
    let address = ip.to_string();
    // Hundredths of a millisecond are enough for people.
    let measured = probe.rtt.map(|rtt| (rtt.as_secs_f64() * 100_000.0).round() / 100.0);
    let written =
        before.gateway.as_ref().and_then(|g| g.addresses.iter().find(|a| a.address == address)?.rtt_ms);
    GatewayAddressStatus {
        address,
        alive: probe.alive,
        rtt_ms: match (measured, written) {
            (Some(now), Some(then)) if (now - then).abs() <= then * RTT_NOISE => Some(then),
            _ => measured,
        },
        error: probe.last_error.as_ref().map(ToString::to_string),
    }
}

fn credentials(observed: &Observed) -> LinkCondition {
    match &observed.stale {
        Some((_, why)) if why.contains("(401)") => {
            condition("CredentialsValid", Some(false), "Refused", why.clone())
        }
        Some((_, why)) if why.contains("(403)") => {
            condition("CredentialsValid", Some(false), "Forbidden", why.clone())
        }
        _ if observed.synced => {
            let text = "the linked cluster's API accepts the credentials".to_owned();
            condition("CredentialsValid", Some(true), "Accepted", text)
        }
        _ => condition(
            "CredentialsValid",
            None,
            "NotTried",
            "the linked cluster's API has not answered yet".to_owned(),
        ),
    }
}

fn trust(observed: &Observed) -> LinkCondition {
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

fn reachable(observed: &Observed) -> LinkCondition {
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

fn synced(observed: &Observed) -> LinkCondition {
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

fn degraded(observed: &Observed) -> LinkCondition {
    let dead = observed.addresses.values().filter(|p| p.alive == Some(false)).count();
    let stale = observed.stale.as_ref().is_some_and(|(age, _)| *age >= STALE_AFTER);
    let refused = observed.mirrors.iter().chain(&observed.members).filter(|o| !o.mirrored).count();
    if dead == 0 && !stale && refused == 0 {
        return condition("Degraded", Some(false), "AsExpected", "nothing is missing".to_owned());
    }
    let mut parts = Vec::new();
    if dead > 0 {
        parts.push(format!("{dead} of {} gateway addresses do not answer", observed.addresses.len()));
    }
    if stale {
        parts.push("the knowledge of exports is stale".to_owned());
    }
    if refused > 0 {
        parts.push(format!("{refused} services cannot be mirrored"));
    }
    condition("Degraded", Some(true), "PartsMissing", parts.join(", "))
}

fn condition(type_: &str, value: Option<bool>, reason: &str, message: String) -> LinkCondition {
    let status = value.map_or("Unknown", |v| if v { "True" } else { "False" });
    LinkCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        ..LinkCondition::default()
    }
}

/// Times of transition: kept while the status of a condition stays the same.
fn settle(conditions: Vec<LinkCondition>, before: &LinkStatus, now: &str) -> Vec<LinkCondition> {
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
        let condition = ServiceCondition {
            type_: "Mirrored".to_owned(),
            status: value.to_owned(),
            reason: outcome.reason.to_owned(),
            message: outcome.message.clone(),
            last_transition_time: since.to_owned(),
            local_ref: outcome.local.as_ref().map(service_ref),
        };
        ServiceStatus { controller_name: CONTROLLER.to_owned(), remote_ref, conditions: vec![condition] }
    });
    status.collect()
}

fn service_ref(key: &Key) -> RemoteRef {
    RemoteRef {
        group: String::new(),
        kind: "Service".to_owned(),
        name: key.name.clone(),
        namespace: key.namespace.clone(),
    }
}

#[cfg(test)]
mod tests;
