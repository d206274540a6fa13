//! Backends: their endpoints, their queues, and whether they fail at once.

use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of `…_queue_latency_seconds`.
const QUEUE_SECONDS: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 10.0];

#[derive(Clone)]
pub(super) struct BalancerFamilies {
    endpoints: GaugeFamily,
    p2c_endpoints: GaugeFamily,
    p2c_updates: CounterFamily,
    ejected: GaugeFamily,
    queue_length: GaugeFamily,
    queue_requests: CounterFamily,
    queue_latency: HistogramFamily,
    gate_open: CounterFamily,
    gate_open_time: GaugeFamily,
    gate_shut: CounterFamily,
    gate_shut_time: GaugeFamily,
    gate_timeout: GaugeFamily,
}

/// The series of one backend.
pub(in crate::outbound) struct BalancerMetrics {
    ready: Gauge,
    pending: Gauge,
    p2c_endpoints: Gauge,
    ejected: Gauge,
    added: Counter,
    removed: Counter,
    reset: Counter,
    gone: Counter,
    queue_length: Gauge,
    queue_requests: Counter,
    queue_latency: Histogram,
    gate_open: Counter,
    gate_open_time: Gauge,
    gate_shut: Counter,
    gate_shut_time: Gauge,
    gate_timeout: Gauge,
}

/// What a change of discovery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbound) enum P2cUpdate {
    /// The first endpoints.
    Reset,
    /// Endpoints came.
    Add,
    /// Endpoints went.
    Remove,
    /// The service does not exist.
    Gone,
}

impl BalancerFamilies {
    /// The families of balancers of requests (`http`) or connections (`tcp`, `tls`).
    pub(super) fn new(registry: &Registry, kind: &str) -> Self {
        let name = |name: &str| format!("outbound_{kind}_balancer_{name}");
        let counter = |part: &str, help| registry.counter(&name(part), help);
        let gauge = |part: &str, help| registry.gauge(&name(part), help);
        Self {
            endpoints: gauge("endpoints", "Endpoints of a backend by whether they take traffic"),
            p2c_endpoints: gauge("p2c_endpoints", "Endpoints of a backend"),
            p2c_updates: counter(
                "p2c_updates",
                "Changes of a backend's endpoints, as each worker takes them up",
            ),
            ejected: registry.gauge(
                &format!("isthmus_outbound_{kind}_endpoints_ejected"),
                "Endpoints of a backend that failure accrual keeps out of use",
            ),
            queue_length: gauge("queue_length", "What waits for an endpoint now"),
            queue_requests: counter("queue_requests", "What had to wait for an endpoint"),
            queue_latency: registry.histogram(
                &name("queue_latency_seconds"),
                "How long it waited for an endpoint",
                QUEUE_SECONDS,
            ),
            gate_open: counter("queue_gate_open", "Times a backend in failfast took a request again"),
            gate_open_time: gauge("queue_gate_open_time", "When it last took one again, Unix time"),
            gate_shut: counter("queue_gate_shut", "Times a backend began to fail at once"),
            gate_shut_time: gauge("queue_gate_shut_time", "When it last began to fail at once, Unix time"),
            gate_timeout: gauge("queue_gate_timeout_seconds", "Longest wait before a backend fails at once"),
        }
    }

    pub(super) fn balancer(&self, labels: &Labels, failfast: Duration) -> BalancerMetrics {
        let state = |state: &'static str| self.endpoints.get(&labels.with("endpoint_state", state));
        let update = |op: &'static str| self.p2c_updates.get(&labels.with("op", op));
        let metrics = BalancerMetrics {
            ready: state("ready"),
            pending: state("pending"),
            p2c_endpoints: self.p2c_endpoints.get(labels),
            ejected: self.ejected.get(labels),
            added: update("Add"),
            removed: update("Remove"),
            reset: update("Reset"),
            gone: update("DNE"),
            queue_length: self.queue_length.get(labels),
            queue_requests: self.queue_requests.get(labels),
            queue_latency: self.queue_latency.get(labels),
            gate_open: self.gate_open.get(labels),
            gate_open_time: self.gate_open_time.get(labels),
            gate_shut: self.gate_shut.get(labels),
            gate_shut_time: self.gate_shut_time.get(labels),
            gate_timeout: self.gate_timeout.get(labels),
        };
        metrics.gate_timeout.set(i64::try_from(failfast.as_secs()).unwrap_or(i64::MAX));
        metrics
    }
}

impl BalancerMetrics {
    /// How many endpoints there are, how many of them take traffic, and how many are ejected.
    pub(in crate::outbound) fn report(&self, all: usize, ready: usize, ejected: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.p2c_endpoints.set(number(all));
        self.ready.set(number(ready));
        self.pending.set(number(all - ready));
        self.ejected.set(number(ejected));
    }

    /// Discovery changed the endpoints.
    pub(in crate::outbound) fn updated(&self, update: P2cUpdate) {
        match update {
            P2cUpdate::Reset => self.reset.inc(),
            P2cUpdate::Add => self.added.inc(),
            P2cUpdate::Remove => self.removed.inc(),
            P2cUpdate::Gone => self.gone.inc(),
        }
    }

    /// Something begins to wait.
    pub(in crate::outbound) fn queued(&self) {
        self.queue_requests.inc();
        self.queue_length.inc();
    }

    /// Something has waited this long.
    pub(in crate::outbound) fn unqueued(&self, after: Duration) {
        self.queue_length.dec();
        self.queue_latency.observe(after.as_secs_f64());
    }

    /// The backend fails at once from now on, or no longer.
    pub(in crate::outbound) fn gate(&self, open: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let (count, time) = if open {
            (&self.gate_open, &self.gate_open_time)
        } else {
            (&self.gate_shut, &self.gate_shut_time)
        };
        count.inc();
        time.set(now);
    }
}
