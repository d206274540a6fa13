//! What is counted of requests to the control plane: `control_*`, by Linkerd's names.

use crate::config::ControlAddr;
use http::Response;
use mesh_metrics::{Counter, CounterFamily, Histogram, Labels, Registry};
use std::time::Duration;

/// Upper bounds of `control_response_latency_ms` (those of Linkerd's `response_latency_ms`).
const LATENCY_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1_000.0,
    2_000.0, 3_000.0, 4_000.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0,
];

/// The series of one control-plane service.
pub(super) struct ControlMetrics {
    pub(super) requests: Counter,
    responses: CounterFamily,
    latency: Histogram,
    labels: Labels,
}

impl ControlMetrics {
    pub(super) fn new(target: &ControlAddr, registry: &Registry) -> Self {
        let labels = Labels::from_iter([("addr", target.addr.to_string())]);
        let labels = match &target.identity {
            Some(identity) => labels.with("tls", "true").with("server_id", identity.to_string()),
            None => labels.with("tls", "loopback"),
        };
        let help = "Time from a request to the control plane to the head of its answer";
        Self {
            requests: registry.counter("control_request", "Requests to the control plane").get(&labels),
            responses: registry.counter("control_response", "Answers of the control plane, by their heads"),
            latency: registry.histogram("control_response_latency_ms", help, LATENCY_MS).get(&labels),
            labels,
        }
    }

    /// The head of an answer has come, or none will.
    pub(super) fn answered<B, E>(&self, answer: &Result<Response<B>, E>, took: Duration) {
        self.latency.observe(took.as_secs_f64() * 1000.0);
        let labels = match answer {
            Err(_) => self.labels.with("classification", "failure").with("error", "i/o"),
            Ok(response) => {
                let grpc = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
                let success = response.status().is_success() && grpc.is_none_or(|code| code == "0");
                let labels = self
                    .labels
                    .with("classification", if success { "success" } else { "failure" })
                    .with("status_code", response.status().as_str().to_owned());
                match grpc {
                    Some(code) => labels.with("grpc_status", code.to_owned()),
                    None => labels,
                }
            }
        };
        self.responses.get(&labels).inc();
    }
}
