//! The work that is measured, and what is wanted of it.

use crate::arm::{HAPROXY_HTTP, HAPROXY_TCP};
use crate::load::{H2load, Idle, Load, Tcp, Wrk};
use mesh_bed::{BODY_PATH, ECHO_PORT, HTTP_PORT, Layout, SMALL_PATH, SOURCE_PORT, Slow};
use std::time::Duration;

/// What a goal speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Cpu,
    P99,
    Throughput,
}

/// A ratio that is wanted of our arm against another of the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this.
    AtMost(Metric, f64, &'static str),
    /// At least this.
    AtLeast(Metric, f64, &'static str),
}

/// One kind of work.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) unit: &'static str,
    pub(crate) load: Load,
    pub(crate) endpoints: usize,
    pub(crate) slow: Option<Slow>,
    pub(crate) goals: &'static [Goal],
    /// Part of a quick run.
    pub(crate) quick: bool,
}

const REQUEST: &str = "request";
const MIB: &str = "MiB";
const CONNECTION: &str = "connection";
const MESSAGE: &str = "message";

const SLOW_SPAN: Duration = Duration::from_secs(10);
const MANY_WARM_UP: Duration = Duration::from_secs(3);
const SLOW: Slow = Slow { round_trip: Duration::from_millis(80), rate: 200_000_000 };

const HTTP_CPU: &[Goal] = &[Goal::AtMost(Metric::Cpu, 1.0, HAPROXY_HTTP)];

impl Workload {
    const fn new(name: &'static str, unit: &'static str, load: Load) -> Self {
        Self { name, unit, load, endpoints: 1, slow: None, goals: &[], quick: false }
    }

    const fn goals(self, goals: &'static [Goal]) -> Self {
        Self { goals, ..self }
    }

    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    const fn endpoints(self, endpoints: usize) -> Self {
        Self { endpoints, ..self }
    }

    const fn slow(self) -> Self {
        Self { slow: Some(SLOW), ..self }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout { endpoints: self.endpoints, slow: self.slow }
    }

    /// Whether it carries bytes that no proxy may take for HTTP.
    pub(crate) fn is_opaque(&self) -> bool {
        self.port() != HTTP_PORT
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.load, Load::H2load(_) | Load::GrpcStreams { .. })
    }

    /// The application's port.
    pub(crate) fn port(&self) -> u16 {
        match &self.load {
            Load::Tcp(Tcp::Source { .. }) => SOURCE_PORT,
            Load::Tcp(_) => ECHO_PORT,
            Load::Idle(Idle { opaque: true, .. }) => ECHO_PORT,
            _ => HTTP_PORT,
        }
    }

    /// Whether every reading needs proxies that have done nothing before.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.load, Load::Idle(_))
    }

    /// How long a reading is, where it is `span` usually: on a slow link windows need time to open.
    pub(crate) fn span(&self, span: Duration) -> Duration {
        if self.slow.is_some() { span.max(SLOW_SPAN) } else { span }
    }

    /// How long it runs before a reading: every endpoint wants a connection first, and windows be open.
    pub(crate) fn warm_up(&self, span: Duration) -> Duration {
        if self.slow.is_some() || self.churns() { span.max(MANY_WARM_UP) } else { span / 4 }
    }

    /// Whether endpoints come and go.
    pub(crate) fn churns(&self) -> bool {
        self.endpoints > 1
    }
}

const fn get(connections: u32) -> Load {
    Load::Wrk(Wrk { connections, path: SMALL_PATH, close: false, upload: false })
}

const fn h2(clients: u32, streams: u32) -> Load {
    Load::H2load(H2load { clients, streams, grpc: false })
}

/// Everything, in the order it is measured.
pub(crate) fn all() -> Vec<Workload> {
    let large = |connections, upload| {
        let path = if upload { SMALL_PATH } else { BODY_PATH };
        Load::Wrk(Wrk { connections, path, close: false, upload })
    };
    let idle = |connections, opaque| Load::Idle(Idle { connections, opaque });
    let http_tcp: &[Goal] = &[Goal::AtMost(Metric::Cpu, 0.6, HAPROXY_TCP)];
    vec![
        Workload::new("http1-1", REQUEST, get(1)).goals(HTTP_CPU),
        Workload::new("http1-16", REQUEST, get(16)).goals(HTTP_CPU).quick(),
        Workload::new("http1-128", REQUEST, get(128)).goals(HTTP_CPU).quick(),
        Workload::new("http1-steady", REQUEST, Load::Steady { rate: 2000, connections: 16 })
            .goals(&[Goal::AtMost(Metric::P99, 1.0, HAPROXY_HTTP)])
            .quick(),
        Workload::new(
            "http1-churn",
            CONNECTION,
            Load::Wrk(Wrk { connections: 16, path: SMALL_PATH, close: true, upload: false }),
        )
        .goals(HTTP_CPU)
        .quick(),
        Workload::new("http2-10x10", REQUEST, h2(10, 10)).goals(HTTP_CPU).quick(),
        Workload::new("http2-1x100", REQUEST, h2(1, 100)).goals(HTTP_CPU),
        Workload::new("grpc-unary", REQUEST, Load::H2load(H2load { clients: 10, streams: 10, grpc: true })),
        Workload::new("grpc-stream", MESSAGE, Load::GrpcStreams { streams: 10 }),
        Workload::new("body-download", MIB, large(4, false)).goals(http_tcp).quick(),
        Workload::new("body-upload", MIB, large(4, true)).goals(http_tcp),
        Workload::new("opaque-stream", MIB, Load::Tcp(Tcp::Source { connections: 4 }))
            .goals(&[Goal::AtMost(Metric::Cpu, 0.5, HAPROXY_TCP)])
            .quick(),
        Workload::new("opaque-echo", REQUEST, Load::Tcp(Tcp::Echo { connections: 16 }))
            .goals(&[Goal::AtMost(Metric::Cpu, 0.8, HAPROXY_TCP)])
            .quick(),
        Workload::new("opaque-churn", CONNECTION, Load::Tcp(Tcp::Churn { connections: 16 }))
            .goals(&[Goal::AtMost(Metric::Cpu, 0.25, HAPROXY_TCP)])
            .quick(),
        Workload::new("idle-http-1000", CONNECTION, idle(1000, false)).quick(),
        Workload::new("idle-http-8000", CONNECTION, idle(8000, false)),
        Workload::new("idle-opaque-1000", CONNECTION, idle(1000, true)).quick(),
        Workload::new("idle-opaque-8000", CONNECTION, idle(8000, true)),
        Workload::new("endpoints-10", REQUEST, get(16)).endpoints(10),
        Workload::new("endpoints-100", REQUEST, get(16)).endpoints(100),
        Workload::new("endpoints-1000", REQUEST, get(16)).endpoints(1000),
        Workload::new("slow-link", MIB, large(4, false)).slow().goals(&[Goal::AtLeast(
            Metric::Throughput,
            0.8,
            crate::arm::DIRECT,
        )]),
    ]
}
