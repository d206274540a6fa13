//! JSON values as YAML text, keys sorted, in the block style people write by hand.

use serde_json::Value;

/// Words that YAML 1.1 or 1.2 readers take for something other than a string.
const NOT_STRINGS: [&str; 12] =
    ["true", "false", "yes", "no", "on", "off", "null", "~", "y", "n", ".nan", ".inf"];

/// The value as a YAML document, ending in a newline.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => write_list(&mut out, value, 0),
        _ => {
            out.push_str(&scalar(value, 0));
            out.push('\n');
        }
    }
    out
}

fn write_map(out: &mut String, value: &Value, depth: usize) {
    let mut entries: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (i, (key, item)) in entries.into_iter().enumerate() {
        // The first key of a map within a list stands on the line of its dash.
        if i > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(depth));
        }
        out.push_str(&plain_or_quoted(key));
        out.push(':');
        write_item(out, item, depth, depth);
    }
}

fn write_list(out: &mut String, value: &Value, depth: usize) {
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        if i > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(depth));
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, item, depth + 2),
            Value::Array(list) if !list.is_empty() => write_list(out, item, depth + 2),
            _ => {
                out.push_str(&scalar(item, depth));
                out.push('\n');
            }
        }
    }
}

fn write_item(out: &mut String, item: &Value, depth: usize, list_depth: usize) {
    match item {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, item, depth + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_list(out, item, list_depth);
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(item, depth));
            out.push('\n');
        }
    }
}

fn scalar(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(s) => match block(s, depth) {
            Some(block) => block,
            None => plain_or_quoted(s),
        },
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// A literal block for text of several lines, where one keeps it exactly.
fn block(text: &str, depth: usize) -> Option<String> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let odd = |line: &str| line.ends_with([' ', '\t']) || line.chars().any(|c| c.is_control());
    if !body.contains('\n') || body.ends_with('\n') || body.starts_with([' ', '\n', '\t']) {
        return None;
    }
    if body.split('\n').any(odd) {
        return None;
    }
    let pad = " ".repeat(depth + 2);
    let lines: Vec<String> = body
        .split('\n')
        .map(|line| if line.is_empty() { String::new() } else { format!("{pad}{line}") })
        .collect();
    let header = if text.ends_with('\n') { "|" } else { "|-" };
    Some(format!("{header}\n{}", lines.join("\n")))
}

fn plain_or_quoted(text: &str) -> String {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./@$()+=;<> ".contains(c);
    let body_fine = text.chars().all(safe) && !text.ends_with(' ');
    let word = NOT_STRINGS.contains(&text.to_lowercase().as_str());
    // Colons and hashes are fine where no space stands beside them, but quoting is never wrong.
    if starts_well && body_fine && !word { text.to_owned() } else { Value::from(text).to_string() }
}
