//! The `Forwarded` field (RFC 7239): how a server behind a gateway learns who the client is.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_types::{Authority, Identity, headers};

const FORWARDED: HeaderName = HeaderName::from_static(headers::FORWARDED);

/// What a gateway says of the connection it took a request from.
pub(crate) fn element(gateway: &Identity, client: &Identity, host: &Authority) -> HeaderValue {
    let text = format!("by={gateway};for={client};host={host};proto=https");
    // Identities and names are DNS names; there is nothing a header cannot carry.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("proto=https"))
}

/// Whether this gateway has already forwarded the request to `host`.
pub(crate) fn loops(map: &HeaderMap, gateway: &Identity, host: &Authority) -> bool {
    let host = host.to_string();
    let elements = map.get_all(&FORWARDED).iter().filter_map(|value| value.to_str().ok());
    elements.flat_map(|value| value.split(',')).any(|element| {
        let has = |name: &str, wanted: &str| {
            element.split(';').filter_map(|pair| pair.trim().split_once('=')).any(|(key, value)| {
                key.eq_ignore_ascii_case(name) && value.trim_matches('"').eq_ignore_ascii_case(wanted)
            })
        };
        has("by", gateway.as_str()) && has("host", &host)
    })
}

/// Drops what only the mesh may say and adds what this gateway knows.
pub(crate) fn stamp(map: &mut HeaderMap, element: &HeaderValue) {
    let ours = map.keys().filter(|name| name.as_str().starts_with(headers::L5D_PREFIX));
    for name in ours.cloned().collect::<Vec<_>>() {
        map.remove(name);
    }
    map.remove(headers::RETRY_SAFE);
    map.insert(FORWARDED, element.clone());
}

#[cfg(test)]
mod tests;
