//! Reading request bodies: JSON, or YAML where that is allowed.

use crate::error::ApiError;
use crate::protobuf;
use crate::streams::RequestBody;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// Kubernetes' limit, in octets.
const LARGEST: usize = 3 * 1024 * 1024;

/// Media type of a request, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

pub(crate) async fn bytes(body: RequestBody) -> Result<bytes::Bytes, ApiError> {
    match Limited::new(body, LARGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::Status {
            code: 413,
            reason: "RequestEntityTooLarge".into(),
            message: format!("Request entity too large: limit is {LARGEST}"),
        }),
        Err(error) => Err(ApiError::BadRequest(format!("the request body could not be read: {error}"))),
    }
}

/// The object a request carries.
pub(super) async fn object(headers: &HeaderMap, body: RequestBody) -> Result<Value, ApiError> {
    match media_type(headers) {
        "" | "application/json" => json(&bytes(body).await?),
        "application/yaml" => yaml(&bytes(body).await?),
        protobuf::MEDIA_TYPE => protobuf::decode(&bytes(body).await?),
        other => Err(ApiError::UnsupportedMediaType(format!(
            "the body of the request was in an unknown format ({other}) - accepted media types include: \
             application/json, application/yaml"
        ))),
    }
}

/// The object a request carries, or null if it carries nothing.
pub(super) async fn optional(headers: &HeaderMap, body: RequestBody) -> Result<Value, ApiError> {
    let bytes = bytes(body).await?;
    match (bytes.is_empty(), media_type(headers)) {
        (true, _) => Ok(Value::Null),
        (false, "application/yaml") => yaml(&bytes),
        (false, protobuf::MEDIA_TYPE) => protobuf::decode(&bytes),
        (false, _) => json(&bytes),
    }
}

pub(super) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::BadRequest(format!("the object provided is unrecognized: {error}")))
}

/// YAML; JSON, being the most of what is sent as YAML, is read as such.
pub(super) fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::BadRequest("error decoding YAML: not valid UTF-8".into()))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::BadRequest(format!("error decoding YAML: {error}")))
}
