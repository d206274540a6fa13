//! Metrics of links, by Linkerd's names; the label is `target_cluster_name`.

use crate::model::LinkWorld;
use crate::probe::ProbeError;
use mesh_metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Labels, Registry,
};
use std::time::Duration;

/// Milliseconds; from a neighbour in the rack to the other side of the planet.
const LATENCY_BUCKETS: &[f64] = &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0];

/// All families.
#[derive(Clone)]
pub(crate) struct Metrics {
    alive: GaugeFamily,
    enabled: GaugeFamily,
    latency: HistogramFamily,
    probes: CounterFamily,
    services: GaugeFamily,
}

/// The series of one link.
#[derive(Clone)]
pub(crate) struct LinkMetrics {
    alive: Gauge,
    latency: Histogram,
    succeeded: Counter,
    failed: Counter,
    services: Gauge,
    _enabled: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            alive: registry.gauge("gateway_alive", "Whether an address of the gateway answers its probes"),
            enabled: registry.gauge("gateway_enabled", "Whether the link has a gateway"),
            latency: registry.histogram("gateway_probe_latency_ms", "Round trip of probes", LATENCY_BUCKETS),
            probes: registry.counter("gateway_probes", "Probes by outcome"),
            services: registry.gauge("mirrored_services", "Services here that mirror the linked cluster's"),
        }
    }

    pub(crate) fn link(&self, cluster: &str) -> LinkMetrics {
        let labels = Labels::new().with("target_cluster_name", cluster.to_owned());
        let enabled = self.enabled.get(&labels);
        enabled.set(1);
        LinkMetrics {
            alive: self.alive.get(&labels),
            latency: self.latency.get(&labels),
            succeeded: self.probes.get(&labels.with("probe_successful", "true")),
            failed: self.probes.get(&labels.with("probe_successful", "false")),
            services: self.services.get(&labels),
            _enabled: enabled,
        }
    }
}

impl LinkMetrics {
    pub(crate) fn probed(&self, outcome: &Result<Duration, ProbeError>) {
        match outcome {
            Ok(rtt) => {
                self.succeeded.inc();
                self.latency.observe(rtt.as_secs_f64() * 1000.0);
            }
            Err(_) => self.failed.inc(),
        }
    }

    pub(crate) fn observe(&self, world: &LinkWorld) {
        self.alive.set(i64::from(world.gateway.alive() > 0));
        self.services.set(i64::try_from(world.services.len()).unwrap_or(i64::MAX));
    }
}
