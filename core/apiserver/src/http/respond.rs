//! Answers: objects, lists, tables, statuses, warnings.

use super::accept::Shape;
use crate::api::{Deleted, Listing, Target, Written};
use crate::error::ApiError;
use crate::object;
use crate::streams::{Body, full, json_response};
use crate::table;
use http::header::{CONTENT_TYPE, HeaderValue, WARNING};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn error(error: &ApiError) -> Response<Body> {
    let mut response = json_response(error.code(), &error.to_status());
    if matches!(error, ApiError::TooManyRequests(_)) {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A path that nothing is behind, as the real server's router says it.
pub(super) fn page_not_found() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn one(
    target: &Target,
    object: &Arc<Value>,
    shape: Shape,
    include: table::Include,
    code: StatusCode,
) -> Response<Body> {
    match shape {
        Shape::Object | Shape::Discovery => json_response(code, object),
        Shape::Metadata => json_response(code, &table::partial_metadata(object)),
        Shape::Table => {
            let meta = json!({"resourceVersion": object::resource_version(object)});
            let items = std::slice::from_ref(object);
            let now = jiff::Timestamp::now();
            let table = table::table(&target.def, &target.version, items, meta, include, true, now);
            json_response(code, &table)
        }
    }
}

pub(super) fn list(target: &Target, list: &Listing, shape: Shape, include: table::Include) -> Response<Body> {
    let mut meta = json!({"resourceVersion": list.revision.to_string()});
    if !list.continue_token.is_empty() {
        meta["continue"] = list.continue_token.clone().into();
    }
    if let Some(remaining) = list.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    match shape {
        Shape::Table => {
            let now = jiff::Timestamp::now();
            let table = table::table(&target.def, &target.version, &list.items, meta, include, true, now);
            json_response(StatusCode::OK, &table)
        }
        Shape::Metadata => {
            let items: Vec<Value> = list.items.iter().map(|o| table::partial_metadata(o)).collect();
            let kind = "PartialObjectMetadataList";
            let list =
                json!({"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items});
            json_response(StatusCode::OK, &list)
        }
        Shape::Object | Shape::Discovery => whole_list(target, &list.items, &meta),
    }
}

/// A list is written straight from the shared values.
fn whole_list(target: &Target, items: &[Arc<Value>], meta: &Value) -> Response<Body> {
    let mut out = String::new();
    let (kind, api_version) = (&target.def.list_kind, target.api_version());
    // Writing to a string does not fail.
    let _ =
        write!(out, "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{meta},\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item.as_object() {
            // Items of built-in lists have the list's kind, so that it is not repeated.
            Some(fields) if target.def.custom.is_none() => write_untyped(&mut out, fields),
            _ => drop(write!(out, "{item}")),
        }
    }
    out.push_str("]}");
    let mut response = Response::new(full(out));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn write_untyped(out: &mut String, fields: &serde_json::Map<String, Value>) {
    out.push('{');
    let mut separator = "";
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion")) {
        let _ = write!(out, "{separator}{}:{value}", Value::from(name.as_str()));
        separator = ",";
    }
    out.push('}');
}

pub(super) fn written(target: &Target, written: &Written, shape: Shape) -> Response<Body> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = one(target, &written.object, shape, table::Include::Metadata, code);
    warn(&mut response, &written.warnings);
    if target.def.custom.is_none() { deprecated(target, response) } else { response }
}

pub(super) fn deleted(target: &Target, outcome: &Deleted) -> Response<Body> {
    match outcome {
        Deleted::Going(object) => json_response(StatusCode::OK, object),
        Deleted::Gone(last) if crate::strategy::returns_deleted(&target.def) => {
            json_response(StatusCode::OK, last)
        }
        Deleted::Gone(last) => {
            let mut status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": target.name, "kind": target.def.plural, "uid": object::uid(last)},
            });
            if !target.def.group.is_empty() {
                status["details"]["group"] = target.def.group.clone().into();
            }
            json_response(StatusCode::OK, &status)
        }
    }
}

/// Warns of a version on its way out, as every answer from it does.
pub(super) fn deprecated(target: &Target, mut response: Response<Body>) -> Response<Body> {
    if target.def.group.is_empty() && target.def.kind == "Endpoints" {
        let warning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        warn(&mut response, &[warning.to_owned()]);
    }
    let version = target.def.custom.as_ref().and_then(|crd| crd.version(&target.version));
    if let Some(warning) = version.and_then(|version| version.warning.clone()) {
        warn(&mut response, &[warning]);
    }
    response
}

fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
