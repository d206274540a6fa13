//! Container probes: what a pod's manifest asks to be checked, how often, and when a row of results becomes a verdict.

mod check;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::controllers::object;

/// Runs a command in the probed container; answers its exit code and its output.
pub(crate) type Exec =
    Arc<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<(i32, String), String>> + Send + Sync>;

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Holds the others back until it has passed once.
    Startup,
    /// Failing restarts the container.
    Liveness,
    /// Failing takes the pod out of its Services.
    Readiness,
}

impl Kind {
    /// The field of a container that holds the probe.
    fn field(self) -> &'static str {
        match self {
            Self::Startup => "/startupProbe",
            Self::Liveness => "/livenessProbe",
            Self::Readiness => "/readinessProbe",
        }
    }

    /// As in the kubelet's events: `Readiness probe failed: …`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What is done to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Check {
    Http { tls: bool, host: Option<String>, port: u16, path: String, headers: Vec<(String, String)> },
    Tcp { host: Option<String>, port: u16 },
    Grpc { port: u16, service: String },
    Exec(Vec<String>),
}

/// A probe of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Which one it is.
    pub(crate) kind: Kind,
    check: Check,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Which probe.
    pub(crate) kind: Kind,
    /// Why this check failed; `None` when it passed.
    pub(crate) failure: Option<String>,
    /// Set when the threshold is reached anew: passing (true) or failing (false). A liveness probe says false again
    /// with every further failure.
    pub(crate) verdict: Option<bool>,
}

impl Probe {
    /// The probe of this kind, if the container has one that names a check.
    pub(crate) fn parse(container: &Value, kind: Kind) -> Option<Self> {
        let probe = container.pointer(kind.field()).filter(|probe| !probe.is_null())?;
        let seconds = |pointer: &str, default: u64| {
            let given = object::int(probe, pointer).and_then(|seconds| u64::try_from(seconds).ok());
            Duration::from_secs(given.unwrap_or(default))
        };
        let count = |pointer: &str, default: u32| {
            object::int(probe, pointer).and_then(|count| u32::try_from(count).ok()).unwrap_or(default).max(1)
        };
        Some(Self {
            kind,
            check: parse_check(container, probe)?,
            initial_delay: seconds("/initialDelaySeconds", 0),
            period: seconds("/periodSeconds", 10).max(Duration::from_secs(1)),
            timeout: seconds("/timeoutSeconds", 1).max(Duration::from_secs(1)),
            successes: count("/successThreshold", 1),
            failures: count("/failureThreshold", 3),
        })
    }

    /// Checks until the receiver is gone; a startup probe only until its first verdict.
    ///
    /// A readiness or startup probe that has not passed yet is tried more often than its period at first, so that a
    /// fast start is seen fast; failures beyond the period's rhythm do not count.
    pub(crate) async fn run(self, address: Ipv4Addr, exec: Exec, reports: mpsc::Sender<Report>) {
        tokio::time::sleep(self.initial_delay).await;
        let mut count = Count::default();
        let mut eager = EAGER.iter().copied();
        let mut has_passed = false;
        loop {
            let checked = tokio::time::timeout(self.timeout, self.check.run(address, &exec)).await;
            let failure = checked.unwrap_or_else(|_| Err(format!("timeout after {:?}", self.timeout))).err();
            let pause = if has_passed || self.kind == Kind::Liveness { None } else { eager.next() };
            has_passed |= failure.is_none();
            let is_early = failure.is_some() && pause.is_some();
            if !is_early {
                let verdict = count.record(failure.is_none(), &self);
                let is_over = self.kind == Kind::Startup && verdict.is_some();
                let report = Report { kind: self.kind, failure, verdict };
                if reports.send(report).await.is_err() || is_over {
                    return;
                }
            }
            let pause = if is_early { pause.unwrap_or(self.period) } else { self.period };
            tokio::select! {
                () = tokio::time::sleep(pause.min(self.period)) => {}
                () = reports.closed() => return,
            }
        }
    }
}

/// Pauses of the first tries of a probe that has not passed yet; about a second and a half in all.
const EAGER: [Duration; 10] = {
    let ms = Duration::from_millis;
    [ms(5), ms(10), ms(20), ms(40), ms(80), ms(150), ms(250), ms(300), ms(300), ms(300)]
};

/// Results in a row.
#[derive(Debug, Default)]
struct Count {
    passed: u32,
    failed: u32,
    verdict: Option<bool>,
}

impl Count {
    fn record(&mut self, passed: bool, probe: &Probe) -> Option<bool> {
        if passed {
            (self.passed, self.failed) = (self.passed + 1, 0);
        } else {
            (self.passed, self.failed) = (0, self.failed + 1);
        }
        let reached = if passed { self.passed >= probe.successes } else { self.failed >= probe.failures };
        let repeats = self.verdict == Some(passed) && (passed || probe.kind != Kind::Liveness);
        if !reached || repeats {
            return None;
        }
        self.verdict = Some(passed);
        self.verdict
    }
}

fn parse_check(container: &Value, probe: &Value) -> Option<Check> {
    let text =
        |pointer: &str| Some(object::text(probe, pointer)).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(http) = probe.get("httpGet").filter(|http| !http.is_null()) {
        let headers = object::items(http, "/httpHeaders").iter().map(|header| {
            (object::text(header, "/name").to_owned(), object::text(header, "/value").to_owned())
        });
        return Some(Check::Http {
            tls: object::text(http, "/scheme").eq_ignore_ascii_case("https"),
            host: text("/httpGet/host"),
            port: port(container, http.get("port")?)?,
            path: text("/httpGet/path").unwrap_or_else(|| "/".to_owned()),
            headers: headers.collect(),
        });
    }
    if let Some(tcp) = probe.get("tcpSocket").filter(|tcp| !tcp.is_null()) {
        return Some(Check::Tcp { host: text("/tcpSocket/host"), port: port(container, tcp.get("port")?)? });
    }
    if let Some(grpc) = probe.get("grpc").filter(|grpc| !grpc.is_null()) {
        let service = text("/grpc/service").unwrap_or_default();
        return Some(Check::Grpc { port: port(container, grpc.get("port")?)?, service });
    }
    let command =
        object::items(probe, "/exec/command").iter().filter_map(|word| word.as_str().map(str::to_owned));
    Some(Check::Exec(command.collect())).filter(|check| *check != Check::Exec(Vec::new()))
}

/// A port by number, or by its name among the container's ports.
fn port(container: &Value, port: &Value) -> Option<u16> {
    let number = match port.as_str() {
        Some(text) => match text.parse() {
            Ok(number) => return Some(number),
            Err(_) => object::items(container, "/ports")
                .iter()
                .find(|candidate| object::text(candidate, "/name") == text)
                .and_then(|candidate| object::int(candidate, "/containerPort")),
        },
        None => port.as_i64(),
    };
    number.and_then(|number| u16::try_from(number).ok())
}

#[cfg(test)]
mod tests;
