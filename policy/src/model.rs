//! What policy keeps of the cluster's objects.

mod balance;
mod pod;
mod service;

pub use balance::{Accrual, Backoff, Balance, Penalty, Problem, Retry, Timeouts};
pub use mesh_kube::Key;
pub use pod::{Namespace, Pod, Probe};
pub use service::{Member, Order, Service, ServicePort};

use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use tracing::warn;

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
