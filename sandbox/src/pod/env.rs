//! A container's environment.

use indexmap::IndexMap;
use mesh_apiserver::LocalClient;
use serde_json::{Map, Value};

use super::fields::{self, Addresses};
use crate::controllers::object;

/// The variables a container's spec asks for, after `base`, each expanded against those before it.
///
/// # Errors
/// A sentence naming what is missing.
pub(crate) fn environment(
    client: &LocalClient,
    pod: &Value,
    container: &Value,
    addresses: Addresses,
    base: Vec<(String, String)>,
) -> Result<IndexMap<String, String>, String> {
    let mut out: IndexMap<String, String> = base.into_iter().collect();
    for source in object::items(container, "/envFrom") {
        let prefix = object::text(source, "/prefix");
        for (kind, field) in [(Kind::ConfigMap, "configMapRef"), (Kind::Secret, "secretRef")] {
            let Some(reference) = source.get(field) else { continue };
            let data = kind.data(client, object::namespace(pod), reference)?;
            for (key, value) in data.unwrap_or_default() {
                out.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
            }
        }
    }
    for variable in object::items(container, "/env") {
        let name = object::text(variable, "/name");
        let value = match variable.get("valueFrom") {
            None => Some(expand(object::text(variable, "/value"), &out)),
            Some(from) => value_from(client, pod, container, from, addresses)?,
        };
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    Ok(out)
}

fn value_from(
    client: &LocalClient,
    pod: &Value,
    container: &Value,
    from: &Value,
    addresses: Addresses,
) -> Result<Option<String>, String> {
    if let Some(reference) = from.get("fieldRef") {
        let path = object::text(reference, "/fieldPath");
        return fields::field(pod, path, addresses)
            .map(Some)
            .ok_or_else(|| format!("unsupported fieldPath: {path}"));
    }
    if let Some(reference) = from.get("resourceFieldRef") {
        let resource = object::text(reference, "/resource");
        return fields::resource(pod, reference, object::text(container, "/name"))
            .map(Some)
            .ok_or_else(|| format!("unsupported container resource: {resource}"));
    }
    for (kind, field) in [(Kind::ConfigMap, "configMapKeyRef"), (Kind::Secret, "secretKeyRef")] {
        let Some(reference) = from.get(field) else { continue };
        let key = object::text(reference, "/key");
        let namespace = object::namespace(pod);
        let Some(mut data) = kind.data(client, namespace, reference)? else { return Ok(None) };
        return match data.shift_remove(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if object::flag(reference, "/optional") => Ok(None),
            None => Err(format!(
                "couldn't find key {key} in {} {namespace}/{}",
                kind.name(),
                object::text(reference, "/name")
            )),
        };
    }
    Err("valueFrom names no source that the sandbox knows".to_owned())
}

/// Kinds of objects that hold configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text in `data`, base64 in `binaryData`.
    ConfigMap,
    /// Base64 in `data`.
    Secret,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The entries of the object that `reference` names; `None` if it may be and is missing.
    ///
    /// # Errors
    /// A sentence, when the object is missing or unreadable.
    pub(crate) fn data(
        self,
        client: &LocalClient,
        namespace: &str,
        reference: &Value,
    ) -> Result<Option<IndexMap<String, Vec<u8>>>, String> {
        let (resource, name) = match self {
            Self::ConfigMap => ("configmaps", object::text(reference, "/name")),
            // A volume calls it by another field than a reference does.
            Self::Secret => (
                "secrets",
                match object::text(reference, "/name") {
                    "" => object::text(reference, "/secretName"),
                    name => name,
                },
            ),
        };
        let object = match client.get(resource, namespace, name) {
            Ok(object) => object,
            Err(_) if object::flag(reference, "/optional") => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut out = IndexMap::new();
        if self == Self::ConfigMap {
            for (key, value) in object::map(&object, "/data").into_iter().flatten() {
                out.insert(key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec());
            }
        }
        let encoded = if self == Self::ConfigMap { "/binaryData" } else { "/data" };
        decode(object::map(&object, encoded), &mut out)
            .map_err(|key| format!("{} {namespace}/{name}: key {key} is not base64", self.name()))?;
        Ok(Some(out))
    }
}

fn decode(from: Option<&Map<String, Value>>, out: &mut IndexMap<String, Vec<u8>>) -> Result<(), String> {
    use base64::Engine as _;
    for (key, value) in from.into_iter().flatten() {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(value.as_str().unwrap_or_default())
            .map_err(|_| key.clone())?;
        out.insert(key.clone(), decoded);
    }
    Ok(())
}

/// Replaces `$(NAME)` by the variable's value. An unknown name stays as it is; `$$` is a dollar sign.
pub(crate) fn expand(text: &str, variables: &IndexMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
