//! What all threads of a proxy share.

use crate::config::Config;
use crate::drain::Drain;
use mesh_metrics::Registry;
use mesh_tls::MeshTls;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Shared by the workers and the control thread. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// Our live credentials.
    pub tls: MeshTls,
    /// All metrics.
    pub registry: Registry,
    /// The drain signal.
    pub drain: Drain,
    /// The control thread: discovery, policy and identity run there.
    pub control: Handle,
}
