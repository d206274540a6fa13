//! A long run: endpoints come and go every second, connections all the time, certificates every few seconds. Nothing may
//! be lost, nothing may grow.

mod growth;

use crate::record::p99;
use crate::report::On;
use crate::scene::{Scene, Settings, Setup};
use crate::traffic::{Kind, mixed};
use anyhow::Result;
use growth::{Growth, Point};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often the service's endpoints change.
const CHURN: Duration = Duration::from_secs(1);
/// Who serves, one after the other; somebody always stays.
const SERVING: &[&[usize]] = &[&[0, 1], &[0], &[0, 1], &[1]];
/// How often proxies are looked at.
const SAMPLE: Duration = Duration::from_secs(5);
const QUICK_SAMPLE: Duration = Duration::from_secs(2);
/// How long certificates last, and how far clocks may differ.
const CERTIFICATES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(2));
const QUICK_CERTIFICATES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// How often it is said how things stand.
const WORD: Duration = Duration::from_secs(60);
/// Failures that are told one by one.
const TOLD: usize = 10;
const REFRESHES: &str = "control_identity_cert_refreshes_total";
const CONNECTIONS: &str = "isthmus_worker_connections";

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    machine: On,
    seconds: f64,
    requests: usize,
    failed: usize,
    /// Requests of each kind.
    by_kind: BTreeMap<&'static str, usize>,
    p99_ms: Option<f64>,
    held_up: usize,
    endpoint_changes: u64,
    certificates: f64,
    proxies: Vec<Growth>,
    /// Why this was not endured.
    pub(crate) problems: Vec<String>,
    points: Vec<Point>,
}

/// Runs for `span`.
pub(crate) fn run(settings: &Settings, span: Duration) -> Result<Outcome> {
    let (mut setup, quick) = (Setup::new(settings)?, settings.quick);
    setup.lifetime = Some(if quick { QUICK_CERTIFICATES } else { CERTIFICATES });
    setup.lanes = mixed();
    let mut scene = Scene::start(setup)?;
    let began = Instant::now();
    let (mut changes, mut points) = (0, Vec::new());
    let every = if quick { QUICK_SAMPLE } else { SAMPLE };
    let (mut next_change, mut next_sample, mut next_word) = (began + CHURN, began + every, began + WORD);
    while began.elapsed() < span {
        let next = next_change.min(next_sample);
        scene.go_on(next.saturating_duration_since(Instant::now()));
        if next == next_change {
            let turn = usize::try_from(changes)? % SERVING.len();
            scene.serve_from(SERVING[turn]);
            changes += 1;
            next_change += CHURN;
        } else {
            look(&scene, began, &mut points)?;
            next_sample += every;
        }
        if next >= next_word {
            let (failed, requests) = scene.record.failed();
            eprintln!("  {:>5.0} s: {requests} requests, {failed} failed", began.elapsed().as_secs_f64());
            next_word += WORD;
        }
    }
    scene.finish_load()?;
    let seconds = began.elapsed().as_secs_f64();
    let certificates =
        scene.proxies().map(|proxy| scene.metric(proxy, REFRESHES, "")).sum::<Result<f64>>()?;
    outcome(&scene, seconds, changes, certificates, points)
}

/// Looks at every proxy.
fn look(scene: &Scene, began: Instant, points: &mut Vec<Point>) -> Result<()> {
    for proxy in scene.proxies() {
        let usage = proxy.map_or(&scene.client, |number| &scene.servers[number].proxy).usage()?;
        points.push(Point {
            proxy: proxy.map_or_else(|| "client".to_owned(), |number| format!("server {number}")),
            at_s: began.elapsed().as_secs_f64(),
            rss_kib: usage.rss,
            open_files: usage.open_files,
            threads: usage.threads,
            connections: scene.metric(proxy, CONNECTIONS, "")?,
        });
    }
    Ok(())
}

fn outcome(
    scene: &Scene,
    seconds: f64,
    endpoint_changes: u64,
    certificates: f64,
    points: Vec<Point>,
) -> Result<Outcome> {
    let samples = scene.record.samples();
    let mut problems = scene.panics()?;
    let failures = samples.iter().filter_map(|s| Some((s, s.failure.as_ref()?)));
    problems
        .extend(failures.clone().take(TOLD).map(|(s, reason)| format!("lost: {}: {reason}", s.kind.name())));
    let mut proxies: Vec<String> = points.iter().map(|p| p.proxy.clone()).collect();
    proxies.sort_unstable();
    proxies.dedup();
    let proxies: Vec<Growth> = proxies.iter().filter_map(|name| Growth::of(name, &points)).collect();
    problems.extend(proxies.iter().flat_map(Growth::problems));
    if proxies.is_empty() {
        problems.push("too short: growth cannot be told".to_owned());
    }
    let mut by_kind: BTreeMap<&'static str, usize> = BTreeMap::new();
    for sample in &samples {
        *by_kind.entry(sample.kind.name()).or_default() += 1;
    }
    Ok(Outcome {
        machine: On::here(),
        seconds,
        requests: samples.len(),
        failed: failures.count(),
        by_kind,
        p99_ms: p99(samples.iter()),
        held_up: samples.iter().filter(|s| s.took > Kind::patience(s.kind)).count(),
        endpoint_changes,
        certificates,
        proxies,
        problems,
        points,
    })
}

impl Outcome {
    /// The report that people read.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Soak\n\n{} {:.0} minutes: {} requests, {} failed, {} held up, p99 of the small ones {:.1} ms; endpoints \
             changed {} times, {:.0} certificates were issued.\n\n",
            self.machine.line(),
            self.seconds / 60.0,
            self.requests,
            self.failed,
            self.held_up,
            self.p99_ms.unwrap_or_default(),
            self.endpoint_changes,
            self.certificates,
        );
        let kinds: Vec<String> =
            self.by_kind.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
        text += &format!("Requests: {}.\n\n{}", kinds.join(", "), growth::HEAD);
        for proxy in &self.proxies {
            text += &proxy.row();
        }
        for problem in &self.problems {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- NOT ENDURED: {problem}");
        }
        text
    }
}
