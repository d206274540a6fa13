//! Metrics that cost an atomic add on the hot path: a series is looked up once, when a route, endpoint or connection is
//! built, and its handle kept. Series nobody holds are dropped after they have been idle for long enough.
//!
//! Text encoding is prometheus-client's (OpenMetrics): counters are registered without the `_total` suffix.

mod cells;
mod family;
mod labels;
mod process;
mod registry;

pub use cells::{Counter, Gauge, Histogram};
pub use family::{CounterFamily, Family, GaugeFamily, HistogramFamily};
pub use labels::Labels;
pub use process::register_process;
pub use registry::{CONTENT_TYPE, Description, Registry};
