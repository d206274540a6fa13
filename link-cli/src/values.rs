//! Values of charts from files and flags, with Helm's precedence and syntax.

pub(crate) mod schema;

use crate::report::Problem;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags that set values of a chart.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Values")]
pub(crate) struct ValueArgs {
    /// Values in a YAML file; may be repeated, the last wins.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Set values, such as proxy.logLevel=debug,controllerReplicas=2.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Set values that stay text whatever they look like.
    #[arg(long = "set-string", value_name = "KEY=VALUE")]
    set_string: Vec<String>,
    /// Set values to the contents of files.
    #[arg(long = "set-file", value_name = "KEY=PATH")]
    set_file: Vec<String>,
}

impl ValueArgs {
    /// Applies files, then `--set`, `--set-string` and `--set-file`.
    pub(crate) fn apply(&self, values: &mut Value) -> anyhow::Result<()> {
        for file in &self.files {
            let text = read(file)?;
            let overlay: Value = match serde_saphyr::from_str(&text) {
                Ok(map @ Value::Object(_)) => map,
                Ok(Value::Null) => continue,
                Ok(_) => return Err(no_values(file, "its top is not a map").into()),
                Err(error) => {
                    return Err(no_values(file, &crate::report::one_line(&error.to_string())).into());
                }
            };
            merge(values, &overlay);
        }
        for text in &self.set {
            for (key, value) in assignments("--set", text)? {
                set(values, &key, typed(&value)).map_err(|why| bad("--set", text, &why))?;
            }
        }
        for text in &self.set_string {
            for (key, value) in assignments("--set-string", text)? {
                set(values, &key, Some(value.into())).map_err(|why| bad("--set-string", text, &why))?;
            }
        }
        for text in &self.set_file {
            for (key, path) in assignments("--set-file", text)? {
                let content = read(Path::new(&path))?;
                set(values, &key, Some(content.into())).map_err(|why| bad("--set-file", text, &why))?;
            }
        }
        Ok(())
    }
}

/// Reads a file, naming it where that fails.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let (name, why) = (path.display(), error.to_string());
        Problem::usage(format!("cannot read {name}"), why, format!("look at it:  ls -l {name}")).into()
    })
}

fn no_values(file: &Path, why: &str) -> Problem {
    let what = format!("{} holds no values", file.display());
    Problem::usage(what, why, "write for example:  controllerReplicas: 2")
}

/// Lays `overlay` over `target`: maps merge, null removes, everything else replaces.
pub(crate) fn merge(target: &mut Value, overlay: &Value) {
    match (target, overlay) {
        (Value::Object(target), Value::Object(overlay)) => {
            for (key, value) in overlay {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, overlay) => *target = overlay.clone(),
    }
}

/// A value at a path of keys with `/` between them, as a map to merge.
pub(crate) fn nested(path: &str, value: Value) -> Value {
    path.rsplit('/').fold(value, |inner, key| json!({key: inner}))
}

/// A duration, or several one after the other as Go writes them: `24h0m0s`.
pub(crate) fn durations(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let unit = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let next = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| unit + at);
        total = total.checked_add(mesh_types::parse_duration(&rest[..next]).ok()?)?;
        rest = &rest[next..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Whether a text is a Kubernetes quantity.
pub(crate) fn quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let units = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    digits.parse::<f64>().is_ok_and(|n| n.is_finite() && n >= 0.0) && units.contains(&&text[digits.len()..])
}

fn bad(flag: &str, text: &str, why: &str) -> Problem {
    Problem::usage(
        format!("{flag} {text:?} cannot be understood"),
        why,
        "write: key=value, nested.key=value, list[0]=value or list={a,b}; escape , and . with \\",
    )
}

/// Splits `a=1,b={x,y}` into pairs.
fn assignments(flag: &str, text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut parts = vec![String::new()];
    let (mut depth, mut escaped) = (0usize, false);
    for c in text.chars() {
        let last = parts.len() - 1;
        match c {
            _ if escaped => {
                escaped = false;
                // A dot's backslash is kept for the key's parser.
                if c != ',' {
                    parts[last].push('\\');
                }
                parts[last].push(c);
            }
            '\\' => escaped = true,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth.saturating_sub(1),
                    _ => depth,
                };
                parts[last].push(c);
            }
        }
    }
    let pairs = parts.iter().filter(|p| !p.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').ok_or_else(|| bad(flag, text, "there is no ="))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// The value a text stands for; `None` removes the key.
fn typed(text: &str) -> Option<Value> {
    if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let items = inner.split(',').map(str::trim).filter(|i| !i.is_empty());
        return Some(items.filter_map(typed).collect());
    }
    match text {
        "null" => None,
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        // A leading zero marks a code, not a number.
        t if t == "0" || !t.trim_start_matches('-').starts_with('0') => {
            Some(t.parse::<i64>().map_or_else(|_| t.into(), Value::from))
        }
        t => Some(t.into()),
    }
}

enum Step {
    Key(String),
    Index(usize),
}

fn steps(key: &str) -> Result<Vec<Step>, String> {
    let mut out = Vec::new();
    let mut name = String::new();
    let mut chars = key.chars();
    let close = |name: &mut String, out: &mut Vec<Step>| {
        if !name.is_empty() {
            out.push(Step::Key(std::mem::take(name)));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.extend(chars.next()),
            '.' => close(&mut name, &mut out),
            '[' => {
                close(&mut name, &mut out);
                let digits: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let index = digits.parse().ok().filter(|i: &usize| *i < 1000);
                out.push(Step::Index(index.ok_or("an index must be a number below 1000")?));
            }
            c => name.push(c),
        }
    }
    close(&mut name, &mut out);
    if out.is_empty() { Err("the key is empty".to_owned()) } else { Ok(out) }
}

fn set(values: &mut Value, key: &str, value: Option<Value>) -> Result<(), String> {
    let steps = steps(key)?;
    let Some((last, path)) = steps.split_last() else { return Ok(()) };
    let mut slot = values;
    for step in path {
        slot = enter(slot, step)?;
    }
    match (value, last) {
        (Some(value), last) => *enter(slot, last)? = value,
        (None, Step::Key(name)) => {
            slot.as_object_mut().map(|map| map.remove(name));
        }
        (None, Step::Index(_)) => return Err("null can remove keys, not list items".to_owned()),
    }
    Ok(())
}

fn enter<'v>(slot: &'v mut Value, step: &Step) -> Result<&'v mut Value, String> {
    match step {
        Step::Key(name) => {
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let map = slot.as_object_mut().ok_or("the parent is no map")?;
            Ok(map.entry(name.clone()).or_insert(Value::Null))
        }
        Step::Index(index) => {
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            let list = slot.as_array_mut().ok_or("the parent is no list")?;
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            Ok(&mut list[*index])
        }
    }
}

#[cfg(test)]
mod tests;
