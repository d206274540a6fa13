//! The only crate that names `kube` and `k8s-openapi`, so that their train moves in one place: clients, watches that
//! feed pure indexes, server-side apply, leases, events, and the Link type.

mod apply;
mod client;
mod error;
mod events;
mod key;
mod lease;
pub mod link;
mod watch;

pub use apply::{apply, apply_status, delete};
pub use client::{Connection, connect, connect_kubeconfig, in_cluster};
pub use error::{Error, explain, is_conflict, is_not_found};
pub use events::{EventKind, Events};
pub use key::Key;
pub use lease::{Lease, LeaseTiming};
pub use watch::{Change, WatchState, synced, watch};

pub use k8s_openapi;
pub use kube;
pub use kube::Client;
