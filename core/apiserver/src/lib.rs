//! A Kubernetes API server in a library: HTTPS, authentication, RBAC, admission, storage in memory.
//!
//! The sandbox runs one per cluster, and every room's tests run against it in place of mocks. Objects are kept as raw
//! JSON, so that fields nobody here knows survive. [`ApiServer::start`] brings a server up in milliseconds; its
//! [`Handle`] gives out kubeconfigs, certificates and in-process clients.

mod admission;
mod admit;
mod allocate;
mod api;
mod apply;
mod authn;
mod authz;
mod collect;
mod convert;
mod crd;
mod discovery;
mod error;
mod evict;
mod http;
mod kinds;
mod local;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod rbac;
mod record;
mod resource;
mod reviews;
mod schema;
mod selector;
mod server;
mod store;
mod strategy;
mod streams;
mod table;
mod typing;
mod user;
mod validate;
mod world;

pub use admission::ServiceResolver;
pub use api::{DeleteOptions, PatchKind, Propagation};
pub use error::{ApiError, FieldError};
pub use local::{LocalClient, Selection, WatchEvent};
pub use record::{Recorded, Recorder};
pub use selector::{FieldSelector, LabelSelector};
pub use server::{ApiServer, Config, Handle, StartError};
pub use streams::{Body, PodStreams, RequestBody, StreamKind, full, json_response};
pub use user::{Access, UserInfo};
