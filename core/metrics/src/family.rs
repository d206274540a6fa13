//! Families: all series of one name.

use crate::cells::{Cell, Counter, CounterCell, Gauge, GaugeCell, Histogram, HistogramCell};
use crate::labels::Labels;
use ahash::AHashMap;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counters of one name.
pub type CounterFamily = Family<CounterCell, Counter>;
/// Gauges of one name.
pub type GaugeFamily = Family<GaugeCell, Gauge>;
/// Histograms of one name.
pub type HistogramFamily = Family<HistogramCell, Histogram>;

/// All series of one name. `C` is the value, `H` the handle that callers keep.
pub struct Family<C: Cell, H> {
    inner: Arc<Inner<C>>,
    handle: std::marker::PhantomData<fn() -> H>,
}

struct Inner<C: Cell> {
    shape: C::Shape,
    series: Mutex<AHashMap<Labels, Series<C>>>,
}

struct Series<C> {
    cell: Arc<C>,
    /// When it was first seen that nobody holds a handle.
    idle_since: Option<Instant>,
}

impl<C: Cell, H: From<Arc<C>>> Family<C, H> {
    pub(crate) fn new(shape: C::Shape) -> Self {
        Self { inner: Arc::new(Inner { shape, series: Mutex::default() }), handle: std::marker::PhantomData }
    }

    /// The series with these labels. Keep the handle: the lookup takes a lock.
    pub fn get(&self, labels: &Labels) -> H {
        let mut series = self.inner.series.lock();
        if let Some(found) = series.get_mut(labels) {
            found.idle_since = None;
            return H::from(Arc::clone(&found.cell));
        }
        let cell = Arc::new(C::zero(&self.inner.shape));
        series.insert(labels.clone(), Series { cell: Arc::clone(&cell), idle_since: None });
        H::from(cell)
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.inner.series.lock().len()
    }

    /// Whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the registry does to families of every kind.
pub(crate) trait Evict: Send + Sync {
    /// Drops series without a handle that have been so for `retain`.
    fn evict(&self, now: Instant, retain: Duration);
}

impl<C: Cell, H> Evict for Family<C, H> {
    fn evict(&self, now: Instant, retain: Duration) {
        self.inner.series.lock().retain(|_, series| {
            if Arc::strong_count(&series.cell) > 1 {
                series.idle_since = None;
                return true;
            }
            now.duration_since(*series.idle_since.get_or_insert(now)) < retain
        });
    }
}

impl<C: Cell, H: 'static> EncodeMetric for Family<C, H> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.inner.series.lock();
        for (labels, series) in series.iter() {
            series.cell.write(&self.inner.shape, encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        C::TYPE
    }

    fn is_empty(&self) -> bool {
        self.inner.series.lock().is_empty()
    }
}

impl<C: Cell, H> Clone for Family<C, H> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), handle: std::marker::PhantomData }
    }
}

impl<C: Cell, H> fmt::Debug for Family<C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("series", &self.inner.series.lock().len()).finish()
    }
}
