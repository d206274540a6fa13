//! A test bed for one pair of proxies: a client and a server, each in a network namespace of its own with the redirect
//! rules that pods get, a control plane that certifies both sides, and applications to talk to. The figures of
//! `bench` are taken on it, and the protocol suites of `tests/protocols` run on it.
//!
//! Any proxy that is configured by `LINKERD2_PROXY_*` can stand on both sides, and HAProxy can. Namespaces have no
//! names: they end with the threads and processes in them, whatever happens to this process. This needs root.

mod app;
mod bed;
mod control;
mod haproxy;
mod machine;
mod netns;
mod process;
mod server;
mod sidecar;
mod slow;
mod trust;

pub use app::{BODY, BODY_PATH, ECHO_PORT, HTTP_PORT, RESET_PORT, SMALL_PATH, SOURCE_PORT, run_applications};
pub use bed::{Bed, Layout, Pair, SERVER_IP, endpoint_ip};
pub use control::{Control, Times};
pub use haproxy::{HaProxy, Mode};
pub use machine::{Machine, require};
pub use netns::Netns;
pub use process::{Limits, Process, Usage, install};
pub use server::{Server, server_ip};
pub use sidecar::{Sidecar, admin};
pub use slow::Slow;
pub use trust::{CLIENT, SERVER, Trust};
