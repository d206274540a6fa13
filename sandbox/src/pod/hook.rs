//! Lifecycle hooks: after a container has started and before it is stopped.

use serde_json::Value;

use super::probe::Target;

/// A hook's handler, if the container has that hook.
pub(super) fn handler<'a>(container: &'a Value, hook: &str) -> Option<&'a Value> {
    container.pointer(&format!("/lifecycle/{hook}")).filter(|handler| handler.is_object())
}

/// Runs a hook to its end. Handlers are those of probes, and `sleep`.
///
/// # Errors
/// Why it failed, for people.
pub(super) async fn run(handler: &Value, target: &Target) -> Result<(), String> {
    target.ask(handler).await
}
