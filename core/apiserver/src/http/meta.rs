//! Everything that is not a resource: health, version, discovery, OpenAPI, keys.

use super::Server;
use super::accept::{Shape, negotiate};
use super::respond;
use crate::discovery;
use crate::error::ApiError;
use crate::openapi;
use crate::streams::{Body, full, json_response};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The Kubernetes release whose API this is.
const GIT_VERSION: &str = "v1.34.0";

impl Server {
    pub(super) fn other(
        &self,
        segments: &[String],
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, ApiError> {
        if method != Method::GET && method != Method::HEAD {
            return Err(ApiError::MethodNotAllowed);
        }
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Ok(respond::text(StatusCode::OK, "ok")),
            ["version"] => Ok(json_response(StatusCode::OK, &version())),
            [".well-known", "openid-configuration"] => Ok(json_response(StatusCode::OK, &self.openid())),
            ["openid", "v1", "jwks"] => Ok(json_response(StatusCode::OK, &self.api.tokens.key_set())),
            ["apis", group, ..] if !self.api.registry.has_group(group) => Ok(respond::page_not_found()),
            ["api", ..] | ["apis", ..] => self.discover(&parts, headers),
            ["openapi", ..] => self.openapi(&parts, headers),
            [] => Ok(json_response(
                StatusCode::OK,
                &json!({"paths": ["/api", "/apis", "/healthz", "/version"]}),
            )),
            _ => Ok(respond::page_not_found()),
        }
    }

    fn openid(&self) -> Value {
        let issuer = self.api.tokens.issuer();
        json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    fn discover(&self, parts: &[&str], headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if let (["api"] | ["apis"], Some(version)) = (parts, discovery::wants_aggregated(accept)) {
            let key = format!("{}?{version}", parts[0]);
            return self.document(&key, headers, || {
                let value = discovery::aggregated(&self.api.registry.all(), parts[0] == "api", version);
                Ok((discovery::aggregated_content_type(version), value.to_string()))
            });
        }
        if negotiate(headers)? != Shape::Object {
            return Err(ApiError::NotAcceptable);
        }
        self.document(&parts.join("/"), headers, || {
            let all = self.api.registry.all();
            let value = match parts {
                ["api"] => Some(discovery::core_versions(&self.advertised)),
                ["apis"] => Some(discovery::groups(&all)),
                ["api", version] => discovery::resources(&all, "", version),
                ["apis", group] => discovery::group(&all, group),
                ["apis", group, version] => discovery::resources(&all, group, version),
                _ => None,
            };
            let value = value.ok_or(ApiError::NoSuchResource)?;
            Ok(("application/json".to_owned(), value.to_string()))
        })
    }

    fn openapi(&self, parts: &[&str], headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if parts == ["openapi", "v2"]
            && accept.contains(openapi::binary::ACCEPTED)
            && !accept.contains("json")
        {
            return self.document("openapi/v2 in protobuf", headers, || {
                Ok((openapi::binary::MEDIA_TYPE.into(), openapi::binary::v2(&self.api.registry.all())))
            });
        }
        self.document(&parts.join("/"), headers, || {
            let all = self.api.registry.all();
            let value = match parts {
                ["openapi", "v2"] => Some(openapi::v2(&all)),
                ["openapi", "v3"] => Some(openapi::index(&all)),
                ["openapi", "v3", rest @ ..] => openapi::document(&all, &rest.join("/")),
                _ => None,
            };
            value.map(|v| ("application/json".into(), v.to_string())).ok_or(ApiError::NoSuchResource)
        })
    }

    /// A document that changes only with the set of served resources, made once for each.
    fn document<T: Into<bytes::Bytes>>(
        &self,
        key: &str,
        headers: &HeaderMap,
        make: impl FnOnce() -> Result<(String, T), ApiError>,
    ) -> Result<Response<Body>, ApiError> {
        let generation = self.api.generation.load(Ordering::Relaxed);
        let mut documents = self.documents.lock();
        if documents.0 != generation {
            *documents = (generation, std::collections::HashMap::new());
        }
        let cached = match documents.1.get(key) {
            Some(response) => response.clone(),
            None => {
                let (media, text) = make()?;
                let mut response = Response::new(text.into());
                if let Ok(media) = HeaderValue::from_str(&media) {
                    response.headers_mut().insert(CONTENT_TYPE, media);
                }
                response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("Accept"));
                if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
                    response.headers_mut().insert(ETAG, tag);
                }
                documents.1.insert(key.to_owned(), response.clone());
                response
            }
        };
        drop(documents);
        let known = headers.get(IF_NONE_MATCH).is_some_and(|tag| Some(tag) == cached.headers().get(ETAG));
        let (head, text) = cached.into_parts();
        let mut response = Response::from_parts(head, full(if known { bytes::Bytes::new() } else { text }));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        Ok(response)
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64",
    })
}
