//! The values behind handles.

use crate::labels::Labels;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, exemplar::Exemplar};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

type NoExemplar<'a> = Option<&'a Exemplar<[(&'static str, &'static str); 0], u64>>;

/// A value of a family.
pub trait Cell: Send + Sync + fmt::Debug + 'static {
    /// What every value of a family shares.
    type Shape: Clone + Send + Sync + fmt::Debug + 'static;
    /// Its OpenMetrics type.
    const TYPE: MetricType;
    /// A zero value.
    fn zero(shape: &Self::Shape) -> Self;
    /// Writes the value.
    fn write(&self, shape: &Self::Shape, encoder: MetricEncoder<'_>) -> fmt::Result;
}

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<CounterCell>);

/// The value behind [`Counter`].
#[derive(Debug, Default)]
pub struct CounterCell(AtomicU64);

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<GaugeCell>);

/// The value behind [`Gauge`].
#[derive(Debug, Default)]
pub struct GaugeCell(AtomicI64);

/// A distribution over fixed buckets.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramCell>);

/// The value behind [`Histogram`].
#[derive(Debug)]
pub struct HistogramCell {
    bounds: &'static [f64],
    /// One for each bound and one for all above.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.0.fetch_add(n, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

impl Gauge {
    /// Adds one.
    pub fn inc(&self) {
        self.0.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.0.fetch_sub(1, Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.0.store(value, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> i64 {
        self.0.0.load(Relaxed)
    }
}

impl Histogram {
    /// Records one value, in the unit of the bounds.
    pub fn observe(&self, value: f64) {
        let cell = &*self.0;
        let bucket = cell.bounds.partition_point(|bound| *bound < value);
        cell.counts[bucket].fetch_add(1, Relaxed);
        let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always gives a value, so this cannot fail.
        let _ = cell.sum.fetch_update(Relaxed, Relaxed, add);
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|c| c.load(Relaxed)).sum()
    }
}

impl From<Arc<CounterCell>> for Counter {
    fn from(cell: Arc<CounterCell>) -> Self {
        Self(cell)
    }
}

impl From<Arc<GaugeCell>> for Gauge {
    fn from(cell: Arc<GaugeCell>) -> Self {
        Self(cell)
    }
}

impl From<Arc<HistogramCell>> for Histogram {
    fn from(cell: Arc<HistogramCell>) -> Self {
        Self(cell)
    }
}

impl Cell for CounterCell {
    type Shape = ();
    const TYPE: MetricType = MetricType::Counter;

    fn zero((): &()) -> Self {
        Self::default()
    }

    fn write(&self, (): &(), mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter(&self.0.load(Relaxed), NoExemplar::None)
    }
}

impl Cell for GaugeCell {
    type Shape = ();
    const TYPE: MetricType = MetricType::Gauge;

    fn zero((): &()) -> Self {
        Self::default()
    }

    fn write(&self, (): &(), mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.load(Relaxed))
    }
}

impl Cell for HistogramCell {
    type Shape = &'static [f64];
    const TYPE: MetricType = MetricType::Histogram;

    fn zero(bounds: &&'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    fn write(&self, _: &&'static [f64], mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts.iter().map(|c| c.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let sum = f64::from_bits(self.sum.load(Relaxed));
        encoder.encode_histogram::<[(&'static str, &'static str); 0]>(sum, count, &buckets, None)
    }
}

/// A value read at every scrape.
pub(crate) struct Probe(Box<dyn Fn() -> f64 + Send + Sync>);

impl Probe {
    pub(crate) fn new(read: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }
}

/// Probes of one name.
#[derive(Clone)]
pub(crate) struct ProbeFamily {
    kind: MetricType,
    probes: Arc<Mutex<Vec<(Labels, Probe)>>>,
}

impl ProbeFamily {
    pub(crate) fn new(kind: MetricType) -> Self {
        Self { kind, probes: Arc::default() }
    }

    /// Adds a series, in the place of the one with these labels if there is one.
    pub(crate) fn add(&self, labels: Labels, probe: Probe) {
        let mut probes = self.probes.lock();
        probes.retain(|(known, _)| *known != labels);
        probes.push((labels, probe));
    }
}

impl fmt::Debug for ProbeFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeFamily")
    }
}

impl EncodeMetric for ProbeFamily {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, probe) in self.probes.lock().iter() {
            let value = (probe.0)();
            if labels.is_empty() {
                write(self.kind, value, &mut encoder)?;
            } else {
                write(self.kind, value, &mut encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

fn write(kind: MetricType, value: f64, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match kind {
        MetricType::Counter => encoder.encode_counter(&value, NoExemplar::None),
        _ => encoder.encode_gauge(&value),
    }
}
