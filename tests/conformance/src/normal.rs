//! What differs from one run to the next becomes a placeholder.

use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

// The patterns are constants.
#[allow(clippy::expect_used)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

static TIME: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
static UID: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static PEM: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"-----BEGIN [A-Z ]+-----[A-Za-z0-9+/=\s]+-----END [A-Z ]+-----\n?"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| pattern(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"));
static VOLUME: LazyLock<Regex> = LazyLock::new(|| pattern(r"kube-api-access-[a-z0-9]{5}"));
/// Both servers give Services addresses of 10.43.0.0/16.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"10\.43\.\d+\.\d+"));
/// A node port as a table shows it.
static NODE_PORT: LazyLock<Regex> = LazyLock::new(|| pattern(r":3\d{4}/"));
static AGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+[smhdy])+$"));
static SERVER: LazyLock<Regex> = LazyLock::new(|| pattern(r"127\.0\.0\.1:\d+"));

/// The value with placeholders.
pub fn normalized(mut value: Value) -> Value {
    walk("", &mut value);
    value
}

fn walk(key: &str, value: &mut Value) {
    match value {
        Value::String(text) => *text = string(key, text),
        Value::Number(_) if key == "nodePort" || key == "healthCheckNodePort" => *value = json!("<port>"),
        Value::Number(_) => {}
        Value::Array(items) => items.iter_mut().for_each(|item| walk(key, item)),
        Value::Object(fields) => {
            generated_name(fields);
            ages(fields);
            if let Some(Value::Array(causes)) = fields.get_mut("causes") {
                // The real server goes through maps as it likes.
                causes.sort_by_key(|cause| cause["field"].to_string() + &cause["reason"].to_string());
            }
            for (key, value) in fields.iter_mut() {
                walk(key, value);
            }
            if let Some(Value::Array(managers)) = fields.get_mut("managedFields") {
                // By time, which is the same for what happens within a second.
                managers.sort_by_key(|entry| {
                    format!("{} {} {}", entry["manager"], entry["operation"], entry["subresource"])
                });
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn string(key: &str, text: &str) -> String {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match key {
        "resourceVersion" if is_number => return "<version>".to_owned(),
        "continue" if !text.is_empty() => return "<continue>".to_owned(),
        _ => {}
    }
    let text = TIME.replace_all(
        text,
        |found: &regex::Captures<'_>| {
            if found.get(1).is_some() { "<micro-time>" } else { "<time>" }
        },
    );
    let text = UID.replace_all(&text, "<uid>");
    let text = PEM.replace_all(&text, "<pem>");
    let text = TOKEN.replace_all(&text, "<token>");
    let text = VOLUME.replace_all(&text, "kube-api-access-<generated>");
    let text = ADDRESS.replace_all(&text, "<address>");
    let text = NODE_PORT.replace_all(&text, ":<port>/");
    SERVER.replace_all(&text, "<server>").into_owned()
}

fn generated_name(fields: &mut Map<String, Value>) {
    let prefix = fields.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(Value::String(name)) = fields.get_mut("name")
        && !prefix.is_empty()
        && name.len() == prefix.len() + 5
        && name.starts_with(&prefix)
    {
        *name = format!("{prefix}<generated>");
    }
}

/// Cells of a table that show how long ago something was.
fn ages(row: &mut Map<String, Value>) {
    for cell in row.get_mut("cells").and_then(Value::as_array_mut).into_iter().flatten() {
        if cell.as_str().is_some_and(|text| AGE.is_match(text)) {
            *cell = json!("<age>");
        }
    }
}

#[cfg(test)]
mod tests;
