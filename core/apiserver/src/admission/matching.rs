//! Whether a webhook concerns a request: rules, scope, namespace and object selectors.

use super::Review;
use crate::error::ApiError;
use crate::object;
use crate::selector::LabelSelector;
use serde_json::Value;

pub(super) fn applies(
    review: &Review<'_>,
    webhook: &Value,
    body: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool, ApiError> {
    if !object::items(webhook, "/rules").iter().any(|rule| rule_matches(review, rule)) {
        return Ok(false);
    }
    Ok(namespace_matches(review, webhook, body)? && object_matches(webhook, body, old)?)
}

fn rule_matches(review: &Review<'_>, rule: &Value) -> bool {
    let target = review.target;
    let any = |list: &str, wanted: &str| object::strings(rule, list).any(|v| v == "*" || v == wanted);
    let scope = match object::field(rule, "scope") {
        "Namespaced" => target.def.namespaced,
        "Cluster" => !target.def.namespaced,
        _ => true,
    };
    scope
        && any("operations", review.operation)
        && any("apiGroups", &target.def.group)
        && any("apiVersions", &target.version)
        && object::strings(rule, "resources")
            .any(|r| resource_matches(r, &target.def.plural, &target.subresource))
}

fn resource_matches(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (wanted, wanted_sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    let resource = wanted == "*" || wanted == plural;
    // "*" alone is every resource without its subresources, "*/*" and "pods/*" include them.
    resource && (wanted_sub == subresource || wanted_sub == "*")
}

fn namespace_matches(review: &Review<'_>, webhook: &Value, body: Option<&Value>) -> Result<bool, ApiError> {
    let Some(selector) = selector(webhook, "namespaceSelector")? else { return Ok(true) };
    let target = review.target;
    if target.def.kind == "Namespace" && target.def.group.is_empty() {
        let live = || review.api.peek("namespaces", "", &target.name);
        return Ok(match body {
            Some(body) => selector.matches(body),
            None => live().is_some_and(|ns| selector.matches(&ns)),
        });
    }
    if target.namespace.is_empty() {
        return Ok(true);
    }
    Ok(review.api.peek("namespaces", "", &target.namespace).is_some_and(|ns| selector.matches(&ns)))
}

fn object_matches(webhook: &Value, body: Option<&Value>, old: Option<&Value>) -> Result<bool, ApiError> {
    let Some(selector) = selector(webhook, "objectSelector")? else { return Ok(true) };
    Ok([body, old].into_iter().flatten().any(|o| selector.matches(o)))
}

/// A selector that selects something less than everything.
fn selector(webhook: &Value, name: &str) -> Result<Option<LabelSelector>, ApiError> {
    match webhook.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(selector) => LabelSelector::from_object(selector).map(|s| (!s.is_empty()).then_some(s)),
    }
}
