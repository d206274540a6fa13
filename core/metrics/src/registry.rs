//! All families of a process.

use crate::cells::{Probe, ProbeFamily};
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
    probes: AHashMap<String, ProbeFamily>,
    evictable: Vec<Box<dyn Evict>>,
    described: Vec<Description>,
}

/// What a family is, as documentation tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The name in the text: counters end with `_total`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: String,
    /// The upper bounds of a histogram's buckets.
    pub bounds: &'static [f64],
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
        inner.describe(format!("{name}_total"), "counter", help, &[]);
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
        inner.describe(name.to_owned(), "gauge", help, &[]);
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
        inner.describe(name.to_owned(), "histogram", help, bounds);
        inner.histograms.insert(name.to_owned(), family.clone());
        inner.evictable.push(Box::new(family.clone()));
        inner.registry.register(name, help, family.clone());
        family
    }

    /// A gauge without labels that is read at every scrape. Register a name once.
    pub fn probe(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.probes(name, help, MetricType::Gauge, &Labels::new(), read);
    }

    /// As [`Registry::probe`], a value that only grows; `name` is without the `_total` suffix.
    pub fn counter_probe(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.probes(name, help, MetricType::Counter, &Labels::new(), read);
    }

    /// One series of a gauge with labels, read at every scrape.
    pub fn labelled_probe(
        &self,
        name: &str,
        help: &str,
        labels: &Labels,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.probes(name, help, MetricType::Gauge, labels, read);
    }

    /// As [`Registry::labelled_probe`], a value that only grows; `name` is without the `_total` suffix.
    pub fn labelled_counter_probe(
        &self,
        name: &str,
        help: &str,
        labels: &Labels,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.probes(name, help, MetricType::Counter, labels, read);
    }

    fn probes(
        &self,
        name: &str,
        help: &str,
        kind: MetricType,
        labels: &Labels,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let inner = &mut *self.0.lock();
        if !inner.probes.contains_key(name) {
            let (shown, word) = match kind {
                MetricType::Counter => (format!("{name}_total"), "counter"),
                _ => (name.to_owned(), "gauge"),
            };
            inner.describe(shown, word, help, &[]);
            let family = ProbeFamily::new(kind);
            inner.registry.register(name, help, family.clone());
            inner.probes.insert(name.to_owned(), family);
        }
        if let Some(family) = inner.probes.get(name) {
            family.add(labels.clone(), Probe::new(read));
        }
    }

    /// What families there are, by name.
    pub fn describe(&self) -> Vec<Description> {
        let mut described = self.0.lock().described.clone();
        described.sort_by(|a, b| a.name.cmp(&b.name));
        described
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

impl Inner {
    fn describe(&mut self, name: String, kind: &'static str, help: &str, bounds: &'static [f64]) {
        self.described.push(Description { name, kind, help: help.to_owned(), bounds });
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
