//! The faults: what is done, what it may cost, and how a run of one goes.

mod clock;
mod control;
mod endpoint;
mod identity;
mod limits;
mod network;
mod restart;

pub(crate) use limits::sweep;

use crate::scene::{Scene, Settings, Setup};
use crate::traffic::{Kind, Lane};
use crate::verdict::{Cover, Moments, Promise, Verdict, judge};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What is done, in half a sentence.
    pub(crate) what: &'static str,
    pub(crate) promise: Promise,
    /// Changes the setup; answers with the reason where this machine cannot do it.
    setup: fn(&mut Setup) -> Result<Option<String>>,
    /// Does it, and says when it began and ended.
    run: fn(&mut Scene) -> Result<()>,
}

/// What came of a fault.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) explanation: &'static str,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
    pub(crate) fault_s: f64,
    pub(crate) notes: Vec<String>,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

/// Kinds of requests by what a fault does to them.
const ALL: &[Kind] = &[
    Kind::Get,
    Kind::Post,
    Kind::Http2Get,
    Kind::Grpc,
    Kind::GrpcStream,
    Kind::Download,
    Kind::Tcp,
    Kind::TcpNew,
];
/// Requests that may not be repeated once they are under way: by their method, or because their answer has begun.
const ONCE: &[Kind] = &[Kind::Post, Kind::Grpc, Kind::GrpcStream, Kind::Download];
const BYTES: &[Kind] = &[Kind::Tcp, Kind::TcpNew];
/// How bytes end when their connection does.
const CUT: &[&str] = &["closed", "reset", "Broken pipe", "no answer"];
/// How a request ends when the connection to its endpoint does.
const BROKEN: &[&str] =
    &["request failed", "body:", "the stream", "grpc-status 14", "no answer", "stream closed"];
/// As many as there are.
const ANY: usize = usize::MAX;

fn promise(explanation: &'static str, recovery: u64, covered: Vec<Cover>) -> Promise {
    Promise { explanation, covered, recovery: Duration::from_secs(recovery) }
}

fn cover(kinds: &'static [Kind], reasons: &'static [&'static str], most: usize) -> Cover {
    Cover { kinds, reasons, most }
}

fn as_usual(_: &mut Setup) -> Result<Option<String>> {
    Ok(None)
}

/// All of them, in the order they are run.
pub(crate) fn all() -> Vec<Fault> {
    let mut all = endpoint::faults();
    all.extend(network::faults());
    all.extend(control::faults());
    all.extend(identity::faults());
    all.extend(limits::faults());
    all.extend(clock::faults());
    all.extend(restart::faults());
    all
}

impl Fault {
    /// Runs it under load.
    pub(crate) fn run(&self, settings: &Settings) -> Result<Outcome> {
        let mut setup = Setup::new(settings)?;
        if let Some(reason) = (self.setup)(&mut setup)? {
            return Ok(self.outcome(Some(reason), Duration::ZERO, Vec::new(), Verdict::default()));
        }
        let mut scene = Scene::start(setup)?;
        let (calm, lanes) = (scene.span(6, 4), scene.setup.lanes.clone());
        scene.go_on(calm);
        (self.run)(&mut scene)?;
        let began = scene.began.context("a fault begins")?;
        let ended = scene.ended.unwrap_or(began);
        let settled = ended + self.promise.recovery;
        scene.go_on(settled.saturating_duration_since(Instant::now()) + calm);
        let moments = Moments { began, ended, settled, over: Instant::now() };
        scene.finish_load()?;
        let mut verdict = judge(&scene.record.samples(), &self.promise, &moments, &lanes);
        verdict.problems.extend(scene.panics()?);
        if !scene.client.is_running() {
            verdict.problems.push(format!("the client's proxy has ended\n{}", scene.client.said()));
        }
        let notes = std::mem::take(&mut scene.notes);
        Ok(self.outcome(None, ended - began, notes, verdict))
    }

    fn outcome(
        &self,
        skipped: Option<String>,
        lasted: Duration,
        notes: Vec<String>,
        verdict: Verdict,
    ) -> Outcome {
        let Self { name, what, .. } = *self;
        let explanation = self.promise.explanation;
        Outcome { name, what, explanation, skipped, fault_s: lasted.as_secs_f64(), notes, verdict }
    }
}

/// A load that is not part of the usual one.
fn lane(kind: Kind, per_second: u32) -> Lane {
    Lane { kind, per_second }
}
