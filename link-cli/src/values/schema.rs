//! Holds values against a chart's `values.schema.json`: the part of JSON Schema that those files use, and two words of
//! their own. Helm holds values against the same files, and passes over the two words: `x-format` names how a text is
//! written, `x-no-effect` marks values of Linkerd's charts that are taken and do nothing, with the reason.

use super::{durations, quantity};
use crate::report::Problem;
use serde_json::{Map, Value};

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Values that are refused: path and reason.
    pub(crate) mistakes: Vec<Mistake>,
    /// Values that do nothing: path and reason.
    pub(crate) without_effect: Vec<(String, String)>,
}

/// A value that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    path: String,
    why: String,
    fix: String,
}

impl Findings {
    /// Every mistake at once, with the remedy of the first.
    pub(crate) fn refusal(&self, chart: &str) -> Option<Problem> {
        let first = self.mistakes.first()?;
        let all: Vec<String> = self.mistakes.iter().map(|m| format!("{} {}", m.path, m.why)).collect();
        let what = match all.len() {
            1 => format!("a value of {chart} is refused"),
            n => format!("{n} values of {chart} are refused"),
        };
        Some(Problem::usage(what, all.join("; "), first.fix.as_str()))
    }
}

/// Holds `values` against `schema`.
pub(crate) fn validate(schema: &Value, values: &Value) -> Findings {
    let mut walk = Walk { root: schema, findings: Findings::default() };
    walk.value(schema, values, "");
    walk.findings
}

struct Walk<'a> {
    root: &'a Value,
    findings: Findings,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(why) = schema["x-no-effect"].as_str() {
            return self.findings.without_effect.push((path.to_owned(), why.to_owned()));
        }
        // Nothing is what Helm makes of null.
        if value.is_null() {
            return;
        }
        let wanted = types(schema);
        if !wanted.is_empty() && !wanted.iter().any(|t| is(value, t)) {
            return self.mistyped(&wanted, value, path);
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            let list: Vec<&str> =
                allowed.iter().filter_map(Value::as_str).filter(|a| !a.is_empty()).collect();
            let list = list.join(", ");
            return self.mistake(
                path,
                format!("is {value}, not one of: {list}"),
                format!("choose one of: {list}"),
            );
        }
        self.limits(schema, value, path);
        match value {
            Value::Object(map) => self.map(schema, map, path),
            Value::Array(list) => {
                for (at, item) in list.iter().enumerate().filter(|_| schema["items"].is_object()) {
                    self.value(&schema["items"], item, &format!("{path}[{at}]"));
                }
            }
            Value::String(text) if !text.is_empty() => {
                let format = schema["x-format"].as_str().unwrap_or_default();
                if let Some(example) = misspelt(format, text) {
                    let fix = format!("write for example:  --set-string '{path}={example}'");
                    self.mistake(path, format!("is {value}, which is not {}", form_name(format)), fix);
                }
            }
            _ => {}
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
        pointer.and_then(|p| self.root.pointer(p)).unwrap_or(schema)
    }

    fn map(&mut self, schema: &'a Value, map: &Map<String, Value>, path: &str) {
        let known = schema["properties"].as_object();
        for (key, item) in map {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (known.and_then(|k| k.get(key)), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => self.value(schema, item, &below),
                (None, Value::Bool(false)) => {
                    let fix = match self.similar(known, key, path) {
                        Some(name) => format!("did you mean {name}?"),
                        None => {
                            "take it out; values.yaml of the chart lists and explains every value".to_owned()
                        }
                    };
                    self.mistake(&below, "is not a value of this chart".to_owned(), fix);
                }
                _ => {}
            }
        }
    }

    /// The value that was probably meant: a sibling of nearly that name, or one of exactly that name elsewhere.
    fn similar(&self, siblings: Option<&Map<String, Value>>, key: &str, path: &str) -> Option<String> {
        // In a short word two other letters make another word.
        let most = (key.chars().count() / 3).clamp(1, 2);
        let near = siblings.into_iter().flat_map(Map::keys).filter(|name| distance(name, key) <= most);
        let near = near.min_by_key(|name| distance(name, key));
        if let Some(name) = near {
            return Some(if path.is_empty() { name.clone() } else { format!("{path}.{name}") });
        }
        let mut found = Vec::new();
        named(self.root, key, "", &mut found);
        found.into_iter().next()
    }

    fn mistyped(&mut self, wanted: &[&str], value: &Value, path: &str) {
        let words: Vec<&str> = wanted.iter().map(|t| type_name(t)).collect();
        let why = format!("is {}, {} is expected", kind(value), words.join(" or "));
        let fix = match (wanted, value) {
            (["string"], Value::Number(_) | Value::Bool(_)) => {
                format!("write it as text:  --set-string {path}={value}   or in a file:  \"{value}\"")
            }
            (_, Value::String(text)) if wanted.iter().any(|t| reads_as(text, t)) => {
                format!("write it without quotes, or with --set:  --set {path}={text}")
            }
            _ => "values.yaml of the chart lists and explains every value".to_owned(),
        };
        self.mistake(path, why, fix);
    }

    fn limits(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(number) = value.as_f64() else { return };
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        let fix = match (&schema["minimum"], &schema["maximum"]) {
            (Value::Null, most) => format!("give at most {most}"),
            (least, Value::Null) => format!("give at least {least}"),
            (least, most) => format!("give a number from {least} to {most}"),
        };
        if least.is_some_and(|l| number < l) {
            self.mistake(path, format!("is {value}, less than {}", schema["minimum"]), fix);
        } else if most.is_some_and(|m| number > m) {
            self.mistake(path, format!("is {value}, more than {}", schema["maximum"]), fix);
        }
    }

    fn mistake(&mut self, path: &str, why: String, fix: String) {
        let path = if path.is_empty() { "the whole".to_owned() } else { path.to_owned() };
        self.findings.mistakes.push(Mistake { path, why, fix });
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}

fn reads_as(text: &str, wanted: &str) -> bool {
    match wanted {
        "boolean" => text.parse::<bool>().is_ok(),
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok(),
        _ => false,
    }
}

fn type_name(wanted: &str) -> &'static str {
    match wanted {
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "array" => "a list",
        _ => "a map",
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::String(_) => format!("the text {value}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// An example of the format where `text` does not have it.
fn misspelt(format: &str, text: &str) -> Option<&'static str> {
    let (fine, example) = match format {
        "duration" => (mesh_types::parse_duration(text).is_ok(), "10s"),
        "durations" => (durations(text).is_some(), "24h"),
        "quantity" => (quantity(text), "100m"),
        "ports" => (text.parse::<mesh_types::PortSet>().is_ok(), r"25\,8000-8010"),
        "network" => (is_network(text), "10.0.0.0/8"),
        "networks" => (text.split(',').all(|n| is_network(n.trim())), r"10.0.0.0/8\,fd00::/8"),
        "domain" => (is_domain(text), "cluster.local"),
        _ => return None,
    };
    (!fine).then_some(example)
}

fn form_name(format: &str) -> &'static str {
    match format {
        "duration" | "durations" => "a duration",
        "quantity" => "a quantity",
        "ports" => "a list of ports and ranges",
        "network" => "a network",
        "networks" => "a list of networks",
        _ => "a DNS domain",
    }
}

fn is_network(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| mesh_types::validate_dns_label(label).is_ok())
}

/// Paths at which a schema has a property of this name.
fn named(schema: &Value, key: &str, path: &str, found: &mut Vec<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if name == key && below.get("x-no-effect").is_none() {
            found.push(at.clone());
        }
        named(below, key, &at, found);
    }
}

/// How many characters must be added, taken out or replaced to make one word of the other; case does not count.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
