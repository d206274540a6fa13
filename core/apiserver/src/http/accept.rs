//! In which shape a client wants its answer.

use crate::error::ApiError;
use http::HeaderMap;
use http::header::ACCEPT;

/// A shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Table,
    Metadata,
    /// Aggregated discovery.
    Discovery,
}

/// The first shape a client accepts that there is.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Shape, ApiError> {
    let mut any = false;
    for clause in headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')) {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        any |= !media.is_empty();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v);
        let shape = match (parameter("as"), parameter("g"), parameter("v")) {
            ("", ..) => Shape::Object,
            ("Table", "meta.k8s.io", "v1") => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Metadata,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Shape::Discovery,
            _ => continue,
        };
        return Ok(shape);
    }
    if any { Err(ApiError::NotAcceptable) } else { Ok(Shape::Object) }
}
