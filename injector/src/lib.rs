//! Adds the sidecar to pods.
//!
//! [`inject`] is a pure function: a pod, its namespace's annotations and the installed values in, the pod with its
//! proxy out. The webhook answers admission reviews with the difference as a JSON patch; `meshctl inject --manual`
//! calls the same function. The control plane's own pods carry the sidecar in their manifests instead (the chart's
//! `partials` templates), because no webhook can serve the pods it depends on.

pub mod annotations;
mod decide;
mod env;
mod error;
mod init_containers;
mod inject;
mod overlay;
mod pod;
mod service;
mod sidecar;
mod values;
mod version;
mod warning;
pub mod webhook;

pub use decide::{SkipReason, decide};
pub use error::Error;
pub use inject::{Injection, Owner, Workload, inject, patch};
pub use overlay::{Annotations, overlay};
pub use pod::annotations_of;
pub use service::opaque_ports_of_service;
pub use values::*;
pub use version::KubernetesVersion;
pub use warning::Warning;

/// Name of the sidecar container.
pub const PROXY_CONTAINER: &str = "linkerd-proxy";
/// Name of the container that writes the redirect rules.
pub const INIT_CONTAINER: &str = "linkerd-init";
/// Name of the container that proves them.
pub const VALIDATOR_CONTAINER: &str = "linkerd-network-validator";
/// Name of the volume for the proxy's key and certificate.
pub const IDENTITY_VOLUME: &str = "linkerd-identity-end-entity";
/// Name of the volume with the token shown to the identity service.
pub const TOKEN_VOLUME: &str = "linkerd-identity-token";
