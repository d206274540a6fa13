//! The three patches a client may send: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge.

mod strategic;
#[cfg(test)]
mod tests;

pub(crate) use strategic::strategic_merge;

use crate::error::ApiError;
use serde_json::Value;

/// Operations one JSON patch may hold, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch. A malformed patch is a 400, one that does not fit the object (a failed `test` too) a 422.
pub(crate) fn json_patch(target: &Value, patch: &Value) -> Result<Value, ApiError> {
    if patch.as_array().is_some_and(|operations| operations.len() > MAX_OPERATIONS) {
        return Err(ApiError::Status {
            code: 413,
            reason: "RequestEntityTooLarge".into(),
            message: format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}"),
        });
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| ApiError::BadRequest(format!("error decoding patch: {error}")))?;
    let mut patched = target.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| ApiError::Status {
        code: 422,
        reason: "Invalid".into(),
        message: format!("the server rejected our request due to an error in our request: {error}"),
    })?;
    Ok(patched)
}

/// Applies a JSON merge patch: objects merge, null removes, everything else replaces.
pub(crate) fn merge_patch(target: &Value, patch: &Value) -> Value {
    let mut merged = target.clone();
    json_patch::merge(&mut merged, patch);
    merged
}
