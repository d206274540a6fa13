//! The table: one row a linked cluster, and below a bad one the reason, indented.

use super::{Members, Peer};
use crate::report::one_line;
use mesh_kube::k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;

const HEADER: [&str; 8] =
    ["CLUSTER", "MODE", "ALIVE", "RTT P50/P99", "SERVICES", "SYNCED", "TRUST", "CREDENTIALS"];

/// Reasons stand below this column.
const REASON_COLUMN: usize = 2;

/// How the services of a cluster are reached.
pub(super) fn mode(peer: &Peer) -> String {
    let said = peer.status.summary.as_ref().map(|s| s.mode.clone()).filter(|m| !m.is_empty());
    said.unwrap_or_else(|| "gateway".to_owned())
}

/// One row.
pub(super) fn cells(peer: &Peer, now: Timestamp) -> [String; 8] {
    let (alive, all) = peer.addresses();
    let gateway = peer.status.gateway.clone().unwrap_or_default();
    let rtt = gateway.nearest().and_then(|a| Some((a.rtt_p50_ms?, a.rtt_p99_ms?)));
    [
        peer.cluster.clone(),
        mode(peer),
        format!("{} {alive}/{all}", if alive > 0 { '√' } else { '×' }),
        rtt.map_or("–".to_owned(), |(p50, p99)| format!("{p50:.1}/{p99:.1} ms")),
        peer.services().to_string(),
        synced(peer, now),
        word(peer, "TrustEstablished"),
        credentials(peer, now),
    ]
}

/// How old the knowledge of the cluster's exports is.
fn synced(peer: &Peer, now: Timestamp) -> String {
    let age = peer.status.last_synced.as_deref().and_then(|t| age(t, now));
    match (peer.holds("Synced"), age) {
        (Some(true), Some(age)) => format!("{age} ago"),
        (Some(true), None) => "yes".to_owned(),
        (Some(false), Some(age)) => format!("stale {age}"),
        (Some(false), None) => "never".to_owned(),
        (None, _) => "unknown".to_owned(),
    }
}

fn credentials(peer: &Peer, now: Timestamp) -> String {
    let end = peer.status.credentials_expire.as_deref().and_then(|t| t.parse::<Timestamp>().ok());
    match (peer.holds("CredentialsValid"), end) {
        (Some(true), Some(end)) if end > now => {
            format!("expire in {}", span(end.duration_since(now).as_secs()))
        }
        _ => word(peer, "CredentialsValid"),
    }
}

/// A condition in a word: `ok` where it holds, else its reason.
fn word(peer: &Peer, name: &str) -> String {
    match peer.status.condition(name) {
        None => "unknown".to_owned(),
        Some(condition) if condition.status == "True" => "ok".to_owned(),
        Some(condition) => words(&condition.reason),
    }
}

/// `NotTried` as people write it: `not tried`.
fn words(reason: &str) -> String {
    let mut text = String::new();
    for letter in reason.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Why a row is bad, one line for each reason.
pub(super) fn reasons(peer: &Peer, all: &[Peer], members: &Members, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let since = |name: &str| {
        let condition = peer.status.condition(name).filter(|c| c.status == "False")?;
        age(&condition.last_transition_time, now).map(|age| format!(" since {age}"))
    };
    let addresses = peer.status.gateway.as_ref().map_or(&[][..], |g| &g.addresses);
    for error in addresses.iter().filter(|a| a.alive != Some(true)).filter_map(|a| a.error.as_ref()) {
        lines.push(format!("{}: gateway {error}{}", peer.cluster, since("Reachable").unwrap_or_default()));
    }
    if let (false, Some(last)) = (peer.is_alive(), lines.last_mut()) {
        last.push_str(&consequence(peer, all, members));
    }
    if lines.is_empty() && !peer.is_alive() {
        lines.extend(message(peer, "Reachable"));
    }
    for name in ["Accepted", "Synced", "CredentialsValid"] {
        lines.extend(message(peer, name));
    }
    let ending = peer.status.condition("CredentialsValid").is_some_and(|c| c.reason == "ExpireSoon");
    if ending {
        lines.push(format!("{}: the credentials end soon; link again for new ones", peer.cluster));
    }
    lines
}

/// What a condition that does not hold says of itself.
fn message(peer: &Peer, name: &str) -> Option<String> {
    let bad = peer.status.condition(name).filter(|c| c.status == "False")?;
    Some(format!("{}: {}", peer.cluster, one_line(&bad.message)))
}

/// Where the traffic for a dead cluster's services goes.
fn consequence(peer: &Peer, all: &[Peer], members: &Members) -> String {
    let serves =
        |cluster: &String| cluster == "here" || all.iter().any(|p| p.cluster == *cluster && p.is_alive());
    let (mut moved, mut elsewhere) = (0_usize, BTreeSet::new());
    for (namespace, name) in peer.federated() {
        let others = members.get(&(namespace.to_owned(), name.to_owned())).into_iter().flatten();
        let others: Vec<&String> = others.filter(|c| **c != peer.cluster && serves(c)).collect();
        moved += usize::from(!others.is_empty());
        elsewhere.extend(others);
    }
    let lost = peer.services() - moved;
    let count = |n: usize| if n == 1 { "1 service".to_owned() } else { format!("{n} services") };
    let mut text = String::new();
    if moved > 0 {
        let elsewhere: Vec<&str> = elsewhere.into_iter().map(String::as_str).collect();
        text.push_str(&format!(" · traffic for {} moved to {}", count(moved), elsewhere.join(", ")));
    }
    if lost > 0 {
        text.push_str(&format!(" · {} out of reach", count(lost)));
    }
    text
}

/// Since a time of RFC 3339.
fn age(since: &str, now: Timestamp) -> Option<String> {
    let since: Timestamp = since.parse().ok()?;
    Some(span(now.duration_since(since).as_secs().max(0)))
}

/// Seconds in the largest unit that leaves something before the point.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The whole screen. Columns are as wide as what is in them, and reasons do not widen them.
pub(super) fn render(rows: &[([String; 8], Vec<String>)]) -> String {
    let header = HEADER.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows.iter().map(|(cells, _)| cells));
    let width = |column: usize| lines().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |cells: &[String; 8]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let indent: usize = widths[..REASON_COLUMN].iter().map(|w| w + 2).sum();
    let mut text = line(&header);
    for (cells, reasons) in rows {
        text.push_str(&line(cells));
        for reason in reasons {
            text.push_str(&format!("{:indent$}{reason}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests;
