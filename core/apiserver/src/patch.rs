//! The three patches a client may send: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge.

mod strategic;
#[cfg(test)]
mod tests;

pub(crate) use strategic::strategic_merge;

use crate::error::ApiError;
use serde_json::Value;

/// Operations one JSON patch may hold, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes the `copy` operations of one JSON patch may add, lest each double the last.
const MAX_COPIED: usize = 3 * 1024 * 1024;

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
    let unfit = |why: &dyn std::fmt::Display| ApiError::Status {
        code: 422,
        reason: "Invalid".into(),
        message: format!("the server rejected our request due to an error in our request: {why}"),
    };
    let (mut patched, mut copied) = (target.clone(), 0);
    for operation in &patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = operation {
            copied += patched.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > MAX_COPIED {
                return Err(unfit(&format!("its copies exceed {MAX_COPIED} bytes")));
            }
        }
        json_patch::patch(&mut patched, std::slice::from_ref(operation)).map_err(|error| unfit(&error))?;
    }
    Ok(patched)
}

/// Applies a JSON merge patch: objects merge, null removes, everything else replaces.
pub(crate) fn merge_patch(target: &Value, patch: &Value) -> Value {
    let mut merged = target.clone();
    json_patch::merge(&mut merged, patch);
    merged
}
