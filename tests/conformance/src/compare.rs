//! Where two answers differ, but for what is said to.

use crate::corpus::{Play, Step, root};
use crate::replay::Answer;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where answers may differ, and why: for every play, for a play, for a step.
pub struct Rules {
    everywhere: BTreeMap<String, String>,
    /// Whether a step's rule that nothing needs is a difference too.
    are_needed: bool,
}

impl Rules {
    /// The rules of `differs.yaml`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read() -> Result<Self> {
        let path = root().join("differs.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let everywhere = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Self { everywhere, are_needed: true })
    }

    /// The same for two real servers, which differ in less than may be.
    pub fn between_real_servers(self) -> Self {
        Self { are_needed: false, ..self }
    }
}

/// One line for each difference between what was recorded and what was answered, step by step.
///
/// # Errors
/// An answer is no JSON, which cannot be.
pub fn differences(
    rules: &Rules,
    play: &Play,
    recorded: &BTreeMap<String, Answer>,
    answered: &BTreeMap<String, Answer>,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let steps: BTreeSet<&str> = play.steps.iter().filter(|s| !s.quiet).map(|s| s.name.as_str()).collect();
    for name in recorded.keys().filter(|name| !steps.contains(name.as_str())) {
        out.push(format!("{}: {name}: is recorded, but no longer asked", play.name));
    }
    for step in play.steps.iter().filter(|step| !step.quiet) {
        let at = format!("{}: {}", play.name, step.name);
        let (Some(recorded), Some(answered)) = (recorded.get(&step.name), answered.get(&step.name)) else {
            out.push(format!("{at}: is not recorded (cargo xtask conformance api)"));
            continue;
        };
        let mut found = Vec::new();
        diff("", &serde_json::to_value(recorded)?, &serde_json::to_value(answered)?, &mut found);
        out.extend(excused(rules, play, step, found).into_iter().map(|line| format!("{at}: {line}")));
    }
    Ok(out)
}

/// Takes out what may differ, and adds what no longer does.
fn excused(rules: &Rules, play: &Play, step: &Step, found: Vec<(String, String)>) -> Vec<String> {
    let general: Vec<&String> = rules.everywhere.keys().chain(play.differs.keys()).collect();
    let mut unused: BTreeSet<&String> = step.differs.keys().collect();
    let mut out = Vec::new();
    for (path, what) in found {
        let own: Vec<&String> = step.differs.keys().filter(|pattern| matches(pattern, &path)).collect();
        if own.is_empty() && !general.iter().any(|pattern| matches(pattern, &path)) {
            out.push(format!("{path}: {what}"));
        }
        for pattern in own {
            unused.remove(pattern);
        }
    }
    let unused = unused.into_iter().filter(|_| rules.are_needed);
    out.extend(unused.map(|pattern| format!("{pattern}: no longer differs; take the rule away")));
    out
}

/// Does a pattern name a path or something above it? `*` is any one part, `**` any number of parts.
fn matches(pattern: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
    begins_with(&parts(path), &parts(pattern))
}

fn begins_with(path: &[String], pattern: &[String]) -> bool {
    match (pattern, path) {
        ([], _) => true,
        ([any, rest @ ..], _) if any == "**" => {
            (0..=path.len()).any(|skipped| begins_with(&path[skipped..], rest))
        }
        ([wanted, pattern @ ..], [part, path @ ..]) => {
            (wanted == "*" || wanted == part) && begins_with(path, pattern)
        }
        _ => false,
    }
}

fn diff(path: &str, recorded: &Value, answered: &Value, out: &mut Vec<(String, String)>) {
    match (recorded, answered) {
        (Value::Object(real), Value::Object(ours)) => {
            for (key, value) in real {
                let path = format!("{path}/{}", key.replace('/', "~1"));
                match ours.get(key) {
                    Some(own) => diff(&path, value, own, out),
                    None => {
                        out.push((path, format!("the real server has {}, the sandbox nothing", short(value))))
                    }
                }
            }
            for (key, value) in ours.iter().filter(|(key, _)| !real.contains_key(*key)) {
                let path = format!("{path}/{}", key.replace('/', "~1"));
                out.push((path, format!("the real server has nothing, the sandbox {}", short(value))));
            }
        }
        (Value::Array(real), Value::Array(ours)) => {
            for (index, (real, ours)) in real.iter().zip(ours).enumerate() {
                diff(&format!("{path}/{index}"), real, ours, out);
            }
            if real.len() != ours.len() {
                let what = format!("the real server has {} items, the sandbox {}", real.len(), ours.len());
                out.push((format!("{path}/length"), what));
            }
        }
        (real, ours) if real != ours => {
            out.push((
                path.to_owned(),
                format!("the real server says {}, the sandbox {}", short(real), short(ours)),
            ));
        }
        _ => {}
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
