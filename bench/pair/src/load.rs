//! What clients do: closed loops by `wrk` and `h2load`, and loads of our own.

mod grpc;
mod h2load;
mod idle;
mod steady;
mod tcp;
mod wrk;

use anyhow::Result;
use hdrhistogram::Histogram;
use mesh_bed::Bed;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use h2load::H2load;
pub(crate) use idle::Idle;
pub(crate) use tcp::Tcp;
pub(crate) use wrk::Wrk;

/// The longest latency that is told apart, in tenths of a microsecond: a minute.
const LONGEST: u64 = 600_000_000;

/// A load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// HTTP/1.1 as fast as it goes.
    Wrk(Wrk),
    /// HTTP/2 as fast as it goes.
    H2load(H2load),
    /// HTTP/1.1 at a constant rate, whatever the answers take.
    Steady { rate: u32, connections: u32 },
    /// gRPC messages to and fro on long streams of one connection.
    GrpcStreams { streams: u32 },
    /// Bytes.
    Tcp(Tcp),
    /// Connections that do nothing.
    Idle(Idle),
}

/// Where the programs are that make load.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) wrk: PathBuf,
    pub(crate) h2load: PathBuf,
}

/// Latencies, microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// What a load has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Operations in the workload's unit.
    pub(crate) operations: f64,
    pub(crate) seconds: f64,
    pub(crate) latency: Option<Latency>,
    /// What did not succeed.
    pub(crate) failed: u64,
}

impl Load {
    /// Runs it for about `span`.
    pub(crate) fn run(&self, bed: &Bed, tools: &Tools, span: Duration) -> Result<Outcome> {
        match self {
            Self::Wrk(wrk) => wrk.run(bed, tools, span),
            Self::H2load(h2load) => h2load.run(bed, tools, span),
            Self::Steady { rate, connections } => steady::run(bed, *rate, *connections, span),
            Self::GrpcStreams { streams } => grpc::run(bed, *streams, span),
            Self::Tcp(tcp) => tcp.run(bed, span),
            Self::Idle(idle) => idle.hold(bed).map(|held| Outcome {
                operations: f64::from(idle.connections),
                seconds: held.seconds,
                ..Outcome::default()
            }),
        }
    }
}

/// Latencies of one thread or one run, microseconds.
struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    fn record(&mut self, latency: Duration) {
        // A tenth of a microsecond is kept apart: small values would be coarse otherwise.
        let tenths = u64::try_from(latency.as_nanos() / 100).unwrap_or(u64::MAX);
        self.0.saturating_record(tenths);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    fn count(&self) -> u64 {
        self.0.len()
    }

    fn summary(&self) -> Option<Latency> {
        let at = |q: f64| self.0.value_at_quantile(q) as f64 / 10.0;
        (!self.0.is_empty()).then(|| Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) })
    }
}

#[cfg(test)]
mod tests;
