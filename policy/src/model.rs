//! What policy keeps of the cluster's objects.

mod balance;
mod pod;
mod service;

pub use balance::{Accrual, Backoff, Balance, Retry, Timeouts};
pub use pod::{Namespace, Pod, Probe};
pub use service::{Member, Order, Service, ServicePort};

use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use tracing::warn;

/// Namespace and name; the namespace is empty for a Namespace itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of two texts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

type Map = Option<BTreeMap<String, String>>;

fn text<'a>(map: &'a Map, key: &str) -> Option<&'a str> {
    map.as_ref()?.get(key).map(String::as_str)
}

/// The value of an annotation. One that cannot be read counts as absent, and the log says which and why: there is
/// nobody to answer with an error.
fn read<T>(
    meta: &ObjectMeta,
    kind: &str,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let value = text(&meta.annotations, key)?;
    match parse(value.trim()) {
        Ok(parsed) => Some(parsed),
        Err(reason) => {
            warn!(kind, object = %Key::of(meta), annotation = key, reason, "annotation ignored");
            None
        }
    }
}

fn parsed<T>(value: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    value.parse().map_err(|e: T::Err| e.to_string())
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|p| *p != 0)
}
