//! What the server hands to whoever runs the pods: logs, exec, attach and port-forward.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;

/// Body of every response.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Body of every request, as it arrives; or all there, where requests are recorded.
pub type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON response; how handlers outside this crate send a `Status` or an object.
pub fn json_response(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// Which stream of a pod is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// `pods/log`.
    Log,
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
}

/// The node's side of the pod streams. Called after authentication and authorization; the request's query and upgrade
/// are untouched.
pub trait PodStreams: Send + Sync {
    /// Answers one request for a stream of `pod`.
    fn serve(
        &self,
        kind: StreamKind,
        pod: Arc<Value>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>>;
}
