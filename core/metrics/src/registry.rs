//! All families of a process.

use crate::cells::Probe;
use crate::family::{CounterFamily, Evict, Family, GaugeFamily, HistogramFamily};
use crate::labels::Labels;
use ahash::AHashMap;
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The media type of [`Registry::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The families of a process. Clones share them. Asking twice for a name gives the same family.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    registry: prometheus_client::registry::Registry,
    counters: AHashMap<String, CounterFamily>,
    gauges: AHashMap<String, GaugeFamily>,
    histograms: AHashMap<String, HistogramFamily>,
    evictable: Vec<Box<dyn Evict>>,
}

impl Registry {
    /// No families.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counters; `name` is without the `_total` suffix, which is added to the text.
    pub fn counter(&self, name: &str, help: &str) -> CounterFamily {
        let inner = &mut *self.0.lock();
        if let Some(family) = inner.counters.get(name) {
            return family.clone();
        }
        let family = CounterFamily::new(());
        inner.counters.insert(name.to_owned(), family.clone());
        inner.evictable.push(Box::new(family.clone()));
        inner.registry.register(name, help, family.clone());
        family
    }

    /// Gauges.
    pub fn gauge(&self, name: &str, help: &str) -> GaugeFamily {
        let inner = &mut *self.0.lock();
        if let Some(family) = inner.gauges.get(name) {
            return family.clone();
        }
        let family = GaugeFamily::new(());
        inner.gauges.insert(name.to_owned(), family.clone());
        inner.evictable.push(Box::new(family.clone()));
        inner.registry.register(name, help, family.clone());
        family
    }

    /// Histograms with these upper bounds (ascending, without infinity).
    pub fn histogram(&self, name: &str, help: &str, bounds: &'static [f64]) -> HistogramFamily {
        let inner = &mut *self.0.lock();
        if let Some(family) = inner.histograms.get(name) {
            return family.clone();
        }
        let family: HistogramFamily = Family::new(bounds);
        inner.histograms.insert(name.to_owned(), family.clone());
        inner.evictable.push(Box::new(family.clone()));
        inner.registry.register(name, help, family.clone());
        family
    }

    /// A gauge without labels that is read at every scrape. Register a name once.
    pub fn probe(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        let probe = Probe { kind: MetricType::Gauge, read: Box::new(read) };
        self.0.lock().registry.register(name, help, probe);
    }

    /// As [`Registry::probe`], a value that only grows; `name` is without the `_total` suffix.
    pub fn counter_probe(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        let probe = Probe { kind: MetricType::Counter, read: Box::new(read) };
        self.0.lock().registry.register(name, help, probe);
    }

    /// A gauge that is always 1 and says something by its labels, as `proxy_build_info` does.
    pub fn info(&self, name: &str, help: &str, labels: &Labels) {
        let gauge = self.gauge(name, help).get(labels);
        gauge.set(1);
        // Never idle: the handle lives as long as the process.
        std::mem::forget(gauge);
    }

    /// Drops series that nobody has held a handle of for `retain`.
    pub fn evict(&self, now: Instant, retain: Duration) {
        for family in &self.0.lock().evictable {
            family.evict(now, retain);
        }
    }

    /// All series as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.0.lock().registry);
        out
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
