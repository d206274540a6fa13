//! The files of volumes that hold data of the API: ConfigMaps, Secrets, projected volumes and the downward API. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::controllers::object;
use crate::downward;
use crate::environment::Lookup;

/// Mode of files unless the volume says otherwise.
const MODE: u32 = 0o644;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Content.
    pub(crate) content: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// Files by their path inside the volume.
pub(crate) type Files = BTreeMap<String, File>;

/// A token for the pod's service account: (audience, seconds of life).
pub(crate) type Token<'a> = &'a dyn Fn(&str, i64) -> Result<String, String>;

/// Does the volume hold data of the API (rather than being an empty directory or one of the host's)?
pub(crate) fn is_data(volume: &Value) -> bool {
    ["configMap", "secret", "projected", "downwardAPI"]
        .iter()
        .any(|field| volume.get(field).is_some_and(|v| !v.is_null()))
}

/// The files of a volume that [`is_data`].
///
/// # Errors
/// What is missing, in words for an Event.
pub(crate) fn files(
    volume: &Value,
    pod: &Value,
    lookup: Lookup<'_>,
    token: Token<'_>,
) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(projected) = volume.get("projected").filter(|source| !source.is_null()) {
        let mode = mode(projected, "/defaultMode", MODE);
        for source in object::items(projected, "/sources") {
            add_source(source, "name", mode, pod, lookup, token, &mut files)?;
        }
    } else {
        let source =
            volume.get("secret").or_else(|| volume.get("configMap")).or_else(|| volume.get("downwardAPI"));
        let mode = source.map_or(MODE, |source| mode(source, "/defaultMode", MODE));
        let name = if volume.get("secret").is_some() { "secretName" } else { "name" };
        add_source(volume, name, mode, pod, lookup, token, &mut files)?;
    }
    Ok(files)
}

fn mode(source: &Value, pointer: &str, default: u32) -> u32 {
    object::int(source, pointer).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

fn add_source(
    source: &Value,
    name_field: &str,
    default_mode: u32,
    pod: &Value,
    lookup: Lookup<'_>,
    token: Token<'_>,
    files: &mut Files,
) -> Result<(), String> {
    for (field, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if let Some(wanted) = source.get(field).filter(|wanted| !wanted.is_null()) {
            add_object(kind, wanted, name_field, default_mode, lookup, files)?;
        }
    }
    if let Some(downward) = source.get("downwardAPI").filter(|wanted| !wanted.is_null()) {
        for item in object::items(downward, "/items") {
            let content = match item.get("resourceFieldRef").filter(|reference| !reference.is_null()) {
                Some(reference) => downward::resource(container_of(pod, reference), reference)?,
                None => downward::field(pod, object::text(item, "/fieldRef/fieldPath"))?,
            };
            insert(
                files,
                object::text(item, "/path"),
                content.into_bytes(),
                mode(item, "/mode", default_mode),
            )?;
        }
    }
    if let Some(wanted) = source.get("serviceAccountToken").filter(|wanted| !wanted.is_null()) {
        let seconds = object::int(wanted, "/expirationSeconds").unwrap_or(3600);
        let content = token(object::text(wanted, "/audience"), seconds)?;
        insert(files, object::text(wanted, "/path"), content.into_bytes(), default_mode)?;
    }
    Ok(())
}

fn container_of<'a>(pod: &'a Value, reference: &Value) -> &'a Value {
    let wanted = object::text(reference, "/containerName");
    let mut all =
        object::items(pod, "/spec/containers").iter().chain(object::items(pod, "/spec/initContainers"));
    all.find(|container| object::text(container, "/name") == wanted).unwrap_or(&Value::Null)
}

fn add_object(
    kind: &str,
    wanted: &Value,
    name_field: &str,
    default_mode: u32,
    lookup: Lookup<'_>,
    files: &mut Files,
) -> Result<(), String> {
    let name = wanted.get(name_field).and_then(Value::as_str).unwrap_or_default();
    let optional = object::flag(wanted, "/optional");
    let Some(found) = lookup(kind, name) else {
        let missing = format!("{} {name:?} not found", kind.to_ascii_lowercase());
        return if optional { Ok(()) } else { Err(missing) };
    };
    let data = data_of(kind, &found);
    let items = object::items(wanted, "/items");
    if items.is_empty() {
        for (key, content) in data {
            insert(files, &key, content, default_mode)?;
        }
        return Ok(());
    }
    for item in items {
        let key = object::text(item, "/key");
        match data.get(key) {
            Some(content) => {
                insert(
                    files,
                    object::text(item, "/path"),
                    content.clone(),
                    mode(item, "/mode", default_mode),
                )?;
            }
            None if optional => {}
            None => return Err(format!("{} {name:?} has no key {key:?}", kind.to_ascii_lowercase())),
        }
    }
    Ok(())
}

fn data_of(kind: &str, found: &Value) -> BTreeMap<String, Vec<u8>> {
    let entries = |pointer: &str, encoded: bool| {
        let content = move |text: &str| {
            if encoded { STANDARD.decode(text).unwrap_or_default() } else { text.as_bytes().to_vec() }
        };
        let pairs = object::map(found, pointer).cloned().unwrap_or_default();
        pairs.into_iter().map(move |(key, value)| (key, content(value.as_str().unwrap_or_default())))
    };
    if kind == "Secret" {
        entries("/data", true).collect()
    } else {
        entries("/data", false).chain(entries("/binaryData", true)).collect()
    }
}

/// Paths come from people: they must stay inside the volume.
fn insert(files: &mut Files, path: &str, content: Vec<u8>, mode: u32) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(format!("path {path:?} must be relative and stay inside the volume"));
    }
    files.insert(path.to_owned(), File { content, mode });
    Ok(())
}

#[cfg(test)]
mod tests;
