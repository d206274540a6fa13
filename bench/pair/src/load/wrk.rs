//! HTTP/1.1 by `wrk`.

use super::{Latency, Outcome, Tools};
use anyhow::{Context as _, Result};
use mesh_bed::{Bed, HTTP_PORT, SERVER_IP};
use serde::Deserialize;
use std::process::Command;
use std::time::Duration;

/// What `wrk` does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrk {
    pub(crate) connections: u32,
    pub(crate) path: &'static str,
    /// A new connection for every request.
    pub(crate) close: bool,
    /// Sends a MiB with every request.
    pub(crate) upload: bool,
}

/// What the script writes at the end.
#[derive(Deserialize)]
struct Told {
    requests: f64,
    micros: f64,
    failed: u64,
    p50: f64,
    p99: f64,
    p999: f64,
}

const MARK: &str = "told ";

/// Makes the requests, and tells what came out in one line.
const SCRIPT: &str = r#"
local close, upload = "@CLOSE@" == "true", "@UPLOAD@" == "true"
if close then wrk.headers["connection"] = "close" end
if upload then
  wrk.method = "POST"
  wrk.body = string.rep("x", 1048576)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'told {"requests":%d,"micros":%d,"failed":%d,"p50":%f,"p99":%f,"p999":%f}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

impl Wrk {
    pub(super) fn run(&self, bed: &Bed, tools: &Tools, span: Duration) -> Result<Outcome> {
        let script = bed.files().join("wrk.lua");
        let text =
            SCRIPT.replace("@CLOSE@", &self.close.to_string()).replace("@UPLOAD@", &self.upload.to_string());
        std::fs::write(&script, text)?;
        let mut command = Command::new(&tools.wrk);
        command
            .args(["-t1", "-c", &self.connections.to_string()])
            // wrk takes whole seconds only.
            .args(["-d", &span.as_secs().max(1).to_string(), "--timeout", "30", "-s"])
            .arg(&script)
            .arg(format!("http://{SERVER_IP}:{HTTP_PORT}{}", self.path));
        let output = bed.client.output(command)?;
        let line = output.lines().find_map(|l| l.strip_prefix(MARK));
        let told: Told = serde_json::from_str(line.context("wrk told nothing")?).context("what wrk told")?;
        Ok(Outcome {
            operations: told.requests,
            seconds: told.micros / 1e6,
            latency: Some(Latency { p50: told.p50, p99: told.p99, p999: told.p999 }),
            failed: told.failed,
        })
    }
}
