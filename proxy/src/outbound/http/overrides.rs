//! What a request says of its own timeouts and retries, by `l5d-*` fields. Where the route allows it, it counts; it is
//! never passed on.

use crate::outbound::policy::{Retry, Terms};
use ::http::{HeaderMap, HeaderValue};
use mesh_types::{headers, parse_duration, retry};
use std::borrow::Cow;

/// Takes the fields out of a request and gives the terms it is served by. A field that cannot be read is as if it were not
/// there: there is nobody to answer but the application, and the request itself is in order.
pub(super) fn take<'a>(map: &mut HeaderMap, terms: &'a Terms, allowed: bool) -> Cow<'a, Terms> {
    // Most requests have none: one look at each name is cheaper than a lookup of each field.
    if !map.keys().any(|name| name.as_str().starts_with(headers::L5D_PREFIX)) {
        return Cow::Borrowed(terms);
    }
    let mut own = Cow::Borrowed(terms);
    for name in headers::OVERRIDES {
        let Some(value) = map.remove(name) else { continue };
        if !allowed {
            continue;
        }
        if apply(own.to_mut(), name, &value).is_none() {
            tracing::debug!(name, ?value, "field of a request cannot be read, ignored");
        }
    }
    own
}

fn apply(terms: &mut Terms, name: &str, value: &HeaderValue) -> Option<()> {
    let text = value.to_str().ok()?;
    let duration = || parse_duration(text).ok().filter(|limit| !limit.is_zero());
    match name {
        headers::TIMEOUT | headers::REQUEST_TIMEOUT => terms.timeouts.request = Some(duration()?),
        headers::RESPONSE_TIMEOUT => terms.timeouts.response = Some(duration()?),
        headers::RETRY_HTTP => retry_of(terms).statuses = ranges(text)?,
        headers::RETRY_GRPC => retry_of(terms).grpc = retry::grpc_codes(text).ok()?,
        headers::RETRY_LIMIT => {
            let limit = text.trim().parse().ok()?;
            retry_of(terms).max = limit;
        }
        headers::RETRY_TIMEOUT => {
            let limit = duration()?;
            retry_of(terms).timeout = Some(limit);
        }
        _ => {}
    }
    Some(())
}

fn retry_of(terms: &mut Terms) -> &mut Retry {
    terms.retry.get_or_insert_with(Retry::blank)
}

fn ranges(text: &str) -> Option<Vec<std::ops::RangeInclusive<u16>>> {
    let ranges = retry::statuses(text).ok()?;
    Some(ranges.into_iter().map(|(first, last)| first..=last).collect())
}

#[cfg(test)]
mod tests;
