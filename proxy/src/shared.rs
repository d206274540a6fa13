//! What all threads of a proxy share.

use crate::access_log::AccessLog;
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
    /// Connections that clients may have open, all together.
    pub max_connections: usize,
    /// Where requests are logged.
    pub access_log: Option<AccessLog>,
    /// The control thread: discovery, policy and identity run there.
    pub control: Handle,
}
