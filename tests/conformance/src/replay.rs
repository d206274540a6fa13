//! Asking a server what a play says, and keeping what it answered.

use crate::corpus::{Play, Step, root};
use crate::normal::normalized;
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT, WARNING};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use mesh_testkit::{Http, Lines};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a watch may take to tell what it should, and `eventually` to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands as the field manager of what does not name one.
const AGENT: &str = "conformance/1";

/// What a server answered to one step, in a form that is the same in every run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub media: String,
    /// Warnings, which kubectl prints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The body, as JSON or as a text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// The events of a watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Value>,
}

/// Asks everything a play says; answers by step, for those that are compared.
///
/// # Errors
/// A step that could not be asked, or a preparing one that failed.
pub async fn replay(play: &Play, http: &Http) -> Result<BTreeMap<String, Answer>> {
    let mut kept = BTreeMap::new();
    let mut answers = BTreeMap::new();
    for step in &play.steps {
        let context = || format!("{}: {}", play.name, step.name);
        let answer = ask(step, http, &mut kept).await.with_context(context)?;
        if step.quiet {
            let is_expected = step.eventually.map_or(answer.status < 300, |status| status == answer.status);
            ensure!(is_expected, "{}: {} {}", context(), answer.status, answer.body);
        } else {
            answers.insert(step.name.clone(), answer);
        }
    }
    Ok(answers)
}

async fn ask(step: &Step, http: &Http, kept: &mut BTreeMap<String, String>) -> Result<Answer> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, headers, mut lines) = http.open(request(step, kept)?).await?;
        let (mut body, mut events) = (Value::Null, Vec::new());
        match step.events {
            Some(wanted) if status == StatusCode::OK => events = read(&mut lines, wanted).await?,
            _ => body = lines.rest().await?,
        }
        if let Some(wanted) = step.eventually
            && status != wanted
        {
            ensure!(Instant::now() < deadline, "it stays {status}, not {wanted}: {body}");
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        for (name, pointer) in &step.keep {
            let from = events.last().map_or(&body, |event: &Value| &event["object"]);
            let value = from.pointer(pointer).with_context(|| format!("nothing at {pointer} of {from}"))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            kept.insert(name.clone(), text);
        }
        return Ok(Answer {
            status: status.as_u16(),
            media: text(&headers, &CONTENT_TYPE).replace("; charset=utf-8", ""),
            warnings: headers
                .get_all(WARNING)
                .iter()
                .filter_map(|w| w.to_str().ok().map(str::to_owned))
                .collect(),
            body: normalized(body),
            events: events.into_iter().map(normalized).collect(),
        });
    }
}

async fn read(lines: &mut Lines, wanted: usize) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    while events.len() < wanted {
        match timeout(PATIENCE, lines.next()).await.context("a watch stays silent")?? {
            Some(event) => events.push(event),
            None => break,
        }
    }
    Ok(events)
}

fn request(step: &Step, kept: &BTreeMap<String, String>) -> Result<Request<Full<Bytes>>> {
    let ask = filled(&step.ask, kept)?;
    let (method, path) = ask.split_once(' ').context("no method")?;
    let mut request = Request::builder().method(method).uri(path).header(USER_AGENT, AGENT);
    request = request.header(ACCEPT, accept(&step.accept));
    if !step.user.is_empty() {
        request = request.header("impersonate-user", &step.user);
    }
    for group in &step.groups {
        request = request.header("impersonate-group", group);
    }
    let body = match &step.text {
        Some(text) => filled(text, kept)?,
        None if step.body.is_null() => String::new(),
        None => filled(&step.body.to_string(), kept)?,
    };
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, content(&step.content));
    }
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

fn accept(short: &str) -> &str {
    match short {
        "" | "json" => "application/json",
        "table" => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        "metadata" => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "metadata-list" => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "discovery" => {
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        }
        media => media,
    }
}

fn content(short: &str) -> String {
    match short {
        "" | "json" => "application/json".to_owned(),
        "yaml" => "application/yaml".to_owned(),
        "apply-patch" => "application/apply-patch+yaml".to_owned(),
        "json-patch" | "merge-patch" | "strategic-merge-patch" => format!("application/{short}+json"),
        media => media.to_owned(),
    }
}

/// Puts kept values in place of `${name}`.
fn filled(text: &str, kept: &BTreeMap<String, String>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').context("a \"${\" has no end")?;
        let Some(value) = kept.get(name) else { bail!("no earlier step keeps {name:?}") };
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn file(play: &Play) -> PathBuf {
    root().join("expected").join(format!("{}.json", play.name))
}

/// What the real server answered when the play was recorded.
///
/// # Errors
/// There is no recording, or it cannot be read.
pub fn recorded(play: &Play) -> Result<BTreeMap<String, Answer>> {
    let file = file(play);
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("no recording of the real server's answers: {} (cargo xtask conformance api)", file.display())
    })?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// Records answers.
///
/// # Errors
/// The file cannot be written.
pub fn write(play: &Play, answers: &BTreeMap<String, Answer>) -> Result<()> {
    let text = serde_json::to_string_pretty(answers)? + "\n";
    std::fs::write(file(play), text).context("writing the recording")
}

#[cfg(test)]
mod tests;
