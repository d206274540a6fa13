//! CustomResourceDefinitions: accepted when they compile, established at once.

use crate::api::{Api, Target};
use crate::crd::{self, Crd};
use crate::error::ApiError;
use crate::object;
use serde_json::{Value, json};

/// Finalizer under which the instances go first.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

pub(super) fn establish(
    api: &Api,
    target: &Target,
    definition: &mut Value,
    before: Option<&Value>,
) -> Result<(), ApiError> {
    crd::default(definition);
    let causes = crd::check(definition, before);
    if !causes.is_empty() {
        return Err(target.invalid(causes));
    }
    Crd::compile(definition)?;
    let own = |plural: &str| target.name.split('.').next() == Some(plural);
    let taken = |group: &str, kind: &str, plural: &str| {
        api.registry
            .all()
            .iter()
            .filter(|d| d.group == group && !(d.custom.is_some() && own(&d.plural)))
            .any(|d| d.kind == kind || d.plural == plural)
    };
    *definition = crd::with_status(definition, &taken, &object::time(jiff::Timestamp::now()));
    if before.is_none() {
        let metadata = object::metadata_mut(definition);
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.contains(&json!(CLEANUP))
        {
            list.push(CLEANUP.into());
        }
    }
    Ok(())
}
