//! Evictions ask the disruption budgets first.

use crate::api::{Api, Target};
use crate::error::ApiError;
use crate::object;
use crate::selector::LabelSelector;

/// Refuses (429) while a budget over this pod allows no disruption.
pub(crate) fn check(api: &Api, target: &Target) -> Result<(), ApiError> {
    let pod = api.stored(target)?;
    let ready = object::items(&pod, "/status/conditions")
        .iter()
        .any(|c| object::field(c, "type") == "Ready" && object::field(c, "status") == "True");
    if !ready {
        // A pod that serves nobody can go, budget or not.
        return Ok(());
    }
    for budget in api.store.list("poddisruptionbudgets.policy", Some(&target.namespace)).objects {
        if !LabelSelector::from_object(&budget["spec"]["selector"])?.matches(&pod) {
            continue;
        }
        if budget.pointer("/status/disruptionsAllowed").and_then(serde_json::Value::as_i64) == Some(0) {
            return Err(ApiError::TooManyRequests(
                "Cannot evict pod as it would violate the pod's disruption budget.".into(),
            ));
        }
    }
    Ok(())
}
