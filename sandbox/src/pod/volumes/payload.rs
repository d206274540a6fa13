//! What a volume contains: files by path, with modes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::context::NodeContext;
use super::super::env::Kind;
use super::super::fields::{self, Addresses};
use crate::controllers::object;

/// Files by relative path: text and mode.
pub(super) type Payload = BTreeMap<String, (Vec<u8>, u32)>;

/// Mode of files whose volume names none.
const DEFAULT_MODE: u32 = 0o644;
/// A token is renewed at this share of its life, in percent, or after a day; as the kubelet does.
const RENEW_AT_PERCENT: i32 = 80;
const RENEW_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// A service account token in a volume.
#[derive(Debug, Clone)]
pub(super) struct Token {
    text: String,
    /// When to ask for the next one.
    pub(super) renew_at: Timestamp,
}

/// Where a volume's contents come from.
pub(super) struct Source<'a> {
    /// The node.
    pub(super) context: &'a NodeContext,
    /// The pod.
    pub(super) pod: &'a Value,
    /// The pod's and the node's.
    pub(super) addresses: Addresses,
    /// The volume's name.
    pub(super) volume: &'a str,
}

impl Source<'_> {
    /// What the volume should contain now.
    ///
    /// # Errors
    /// A sentence naming what is missing.
    pub(super) fn read(
        &self,
        volume: &Value,
        tokens: &mut BTreeMap<(String, usize), Token>,
    ) -> Result<Payload, String> {
        let mut out = Payload::new();
        if let Some(source) = volume.get("configMap") {
            self.configuration(Kind::ConfigMap, source, mode(source), &mut out)?;
        } else if let Some(source) = volume.get("secret") {
            self.configuration(Kind::Secret, source, mode(source), &mut out)?;
        } else if let Some(source) = volume.get("downwardAPI") {
            self.downward(source, mode(source), &mut out)?;
        } else if let Some(projected) = volume.get("projected") {
            let mode = mode(projected);
            for (index, source) in object::items(projected, "/sources").iter().enumerate() {
                if let Some(source) = source.get("configMap") {
                    self.configuration(Kind::ConfigMap, source, mode, &mut out)?;
                } else if let Some(source) = source.get("secret") {
                    self.configuration(Kind::Secret, source, mode, &mut out)?;
                } else if let Some(source) = source.get("downwardAPI") {
                    self.downward(source, mode, &mut out)?;
                } else if let Some(source) = source.get("serviceAccountToken") {
                    let token = self.token(source, tokens.entry((self.volume.to_owned(), index)))?;
                    out.insert(object::text(source, "/path").to_owned(), (token.into_bytes(), mode));
                } else {
                    return Err(format!("projected source {index} does not exist in the sandbox"));
                }
            }
        } else {
            return Err("its source does not exist in the sandbox".to_owned());
        }
        Ok(out)
    }

    fn configuration(&self, kind: Kind, source: &Value, mode: u32, out: &mut Payload) -> Result<(), String> {
        let namespace = object::namespace(self.pod);
        let Some(mut data) = kind.data(&self.context.client, namespace, source)? else { return Ok(()) };
        let items = object::items(source, "/items");
        if items.is_empty() {
            out.extend(data.into_iter().map(|(key, value)| (key, (value, mode))));
            return Ok(());
        }
        for item in items {
            let key = object::text(item, "/key");
            match data.shift_remove(key) {
                Some(value) => {
                    out.insert(object::text(item, "/path").to_owned(), (value, item_mode(item, mode)));
                }
                None if object::flag(source, "/optional") => {}
                None => return Err(format!("references non-existent config key: {key}")),
            }
        }
        Ok(())
    }

    fn downward(&self, source: &Value, mode: u32, out: &mut Payload) -> Result<(), String> {
        for item in object::items(source, "/items") {
            let text = match item.get("fieldRef") {
                Some(reference) => {
                    let path = object::text(reference, "/fieldPath");
                    fields::field(self.pod, path, self.addresses)
                        .ok_or_else(|| format!("unsupported fieldPath: {path}"))?
                }
                None => {
                    let reference = item.get("resourceFieldRef").unwrap_or(&Value::Null);
                    fields::resource(self.pod, reference, "")
                        .ok_or_else(|| "unsupported resourceFieldRef".to_owned())?
                }
            };
            let path = object::text(item, "/path").to_owned();
            out.insert(path, (text.into_bytes(), item_mode(item, mode)));
        }
        Ok(())
    }

    fn token(
        &self,
        source: &Value,
        entry: std::collections::btree_map::Entry<'_, (String, usize), Token>,
    ) -> Result<String, String> {
        use std::collections::btree_map::Entry;
        let now = Timestamp::now();
        if let Entry::Occupied(known) = &entry
            && now < known.get().renew_at
        {
            return Ok(known.get().text.clone());
        }
        let token = self.request_token(source, now)?;
        let text = token.text.clone();
        entry.insert_entry(token);
        Ok(text)
    }

    fn request_token(&self, source: &Value, now: Timestamp) -> Result<Token, String> {
        let pod = self.pod;
        let audiences = match object::text(source, "/audience") {
            "" => json!([]),
            audience => json!([audience]),
        };
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": object::int(source, "/expirationSeconds").unwrap_or(3600),
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Pod", "name": object::name(pod), "uid": object::uid(pod),
                },
            },
        });
        let account = object::text(pod, "/spec/serviceAccountName");
        let answer = self
            .context
            .client
            .request_token(object::namespace(pod), account, request)
            .map_err(|error| format!("failed to fetch token: {error}"))?;
        let expires = object::time(&answer, "/status/expirationTimestamp").unwrap_or(now);
        Ok(Token { text: object::text(&answer, "/status/token").to_owned(), renew_at: renewal(now, expires) })
    }
}

/// When to renew a token that lives from now until `expires`.
fn renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now).max(jiff::SignedDuration::ZERO);
    now + (life * RENEW_AT_PERCENT / 100).unsigned_abs().min(RENEW_WITHIN)
}

fn mode(source: &Value) -> u32 {
    object::int(source, "/defaultMode").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(DEFAULT_MODE)
}

fn item_mode(item: &Value, default: u32) -> u32 {
    object::int(item, "/mode").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests;
