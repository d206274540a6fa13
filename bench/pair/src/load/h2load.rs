//! HTTP/2 by `h2load`.

use super::{Latencies, Outcome, Tools};
use anyhow::{Context as _, Result};
use mesh_bed::{Bed, HTTP_PORT, SERVER_IP, SMALL_PATH};
use std::process::Command;
use std::time::Duration;

/// What `h2load` does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct H2load {
    pub(crate) clients: u32,
    pub(crate) streams: u32,
    /// gRPC calls with one message of a hundred bytes.
    pub(crate) grpc: bool,
}

/// A gRPC message of a hundred bytes with its prefix.
pub(super) fn message() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 100];
    message.extend([b'.'; 100]);
    message
}

impl H2load {
    pub(super) fn run(&self, bed: &Bed, tools: &Tools, span: Duration) -> Result<Outcome> {
        let (log, body) = (bed.files().join("h2load.log"), bed.files().join("message"));
        drop(std::fs::remove_file(&log));
        let mut command = Command::new(&tools.h2load);
        command
            .args(["-t1", "-c", &self.clients.to_string(), "-m", &self.streams.to_string()])
            .args(["-D", &span.as_secs().max(1).to_string()])
            .arg("--log-file")
            .arg(&log);
        let mut path = SMALL_PATH;
        if self.grpc {
            std::fs::write(&body, message())?;
            command.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]).arg(&body);
            path = "/bed.Echo/Unary";
        }
        command.arg(format!("http://{SERVER_IP}:{HTTP_PORT}{path}"));
        let output = bed.client.output(command)?;
        let seconds = seconds(&output).with_context(|| format!("what h2load told:\n{output}"))?;
        read(&std::fs::read_to_string(&log).context("h2load's log")?, seconds)
    }
}

/// The time of `finished in 3.00s, …`.
fn seconds(output: &str) -> Option<f64> {
    let line = output.lines().find_map(|l| l.strip_prefix("finished in "))?;
    let text = line.split(',').next()?;
    // Longest first: `ms` ends with `s` too.
    let (number, unit) = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)]
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))?;
    number.trim().parse::<f64>().ok().map(|n| n * unit)
}

/// Reads a log of start, status and microseconds.
fn read(log: &str, seconds: f64) -> Result<Outcome> {
    let (mut latencies, mut failed) = (Latencies::new()?, 0);
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, micros) = (fields.next(), fields.next().and_then(|m| m.parse().ok()));
        match (status, micros) {
            (Some("200"), Some(micros)) => latencies.record(Duration::from_micros(micros)),
            _ => failed += 1,
        }
    }
    Ok(Outcome { operations: latencies.count() as f64, seconds, latency: latencies.summary(), failed })
}

#[cfg(test)]
mod tests;
