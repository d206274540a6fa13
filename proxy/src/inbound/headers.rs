//! Header fields that say who the client is: what clients claim is dropped, what is verified is set.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_types::{Identity, headers};

const CLIENT_ID: HeaderName = HeaderName::from_static(headers::CLIENT_ID);
const FORWARDED: HeaderName = HeaderName::from_static(headers::FORWARDED);

/// What every mesh identity contains; a `Forwarded` element that has it claims to be the mesh's word.
const IDENTITY_MARK: &str = ".serviceaccount.identity.";

/// What `l5d-client-id` says of a client, made once for all its requests.
pub(super) fn client_id(client: Option<&Identity>) -> Option<HeaderValue> {
    HeaderValue::from_str(client?.as_str()).ok()
}

/// Drops what the client may not say and sets what is known of it; `id` is its [`client_id`].
///
/// - without a verified identity, every `l5d-*` field goes;
/// - `Forwarded` elements that name mesh identities are kept only from one of our `gateways`;
/// - `l5d-client-id` is the verified identity, or absent.
pub(super) fn sanitize(
    headers: &mut HeaderMap,
    client: Option<&Identity>,
    id: Option<&HeaderValue>,
    gateways: &[Identity],
) {
    match client {
        None => {
            let ours = headers.keys().filter(|name| name.as_str().starts_with(headers::L5D_PREFIX));
            for name in ours.cloned().collect::<Vec<_>>() {
                headers.remove(name);
            }
        }
        Some(_) => {
            match id {
                Some(id) => headers.insert(CLIENT_ID, id.clone()),
                None => headers.remove(&CLIENT_ID),
            };
        }
    }
    if headers.contains_key(&FORWARDED) && !client.is_some_and(|client| gateways.contains(client)) {
        drop_claims(headers);
    }
}

/// Drops `Forwarded` elements that claim a mesh identity, keeps the others (an ingress controller's, say).
fn drop_claims(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(&FORWARDED)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.to_ascii_lowercase().contains(IDENTITY_MARK))
        .map(ToOwned::to_owned)
        .collect();
    headers.remove(&FORWARDED);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_str(&kept.join(", "))
    {
        headers.insert(FORWARDED, value);
    }
}

#[cfg(test)]
mod tests;
