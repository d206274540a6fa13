//! Nobody grants what they do not hold: the escalation check on roles and bindings.

use crate::api::{Api, Target, Write};
use crate::authz::GROUP;
use crate::error::ApiError;
use crate::object;
use crate::user::Access;
use serde_json::Value;

pub(crate) fn check_privileges(
    api: &Api,
    write: &Write<'_>,
    target: &Target,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), ApiError> {
    if target.def.group != GROUP || write.user.groups.iter().any(|g| g == "system:masters") {
        return Ok(());
    }
    let rbac = api.authorizer.rbac(&api.store);
    let role_ref = &new["roleRef"];
    let (verb, resource, name, wanted) = match target.def.plural.as_str() {
        plural @ ("roles" | "clusterroles") => {
            if old.is_some_and(|o| o["rules"] == new["rules"]) {
                return Ok(());
            }
            ("escalate", plural, target.name.as_str(), object::items(new, "/rules").to_vec())
        }
        _ => {
            if old.is_some_and(|o| o["roleRef"] == new["roleRef"] && o["subjects"] == new["subjects"]) {
                return Ok(());
            }
            let cluster = object::field(role_ref, "kind") == "ClusterRole";
            let resource = if cluster { "clusterroles" } else { "roles" };
            let granted = rbac.granted(role_ref, &target.namespace).unwrap_or_default();
            ("bind", resource, object::field(role_ref, "name"), granted)
        }
    };
    let access = Access {
        verb: verb.into(),
        group: GROUP.into(),
        version: "v1".into(),
        resource: resource.into(),
        namespace: target.namespace.clone(),
        name: name.into(),
        ..Access::default()
    };
    if rbac.authorize(write.user, &access).allowed {
        return Ok(());
    }
    match rbac.escalation(write.user, &target.namespace, &wanted) {
        Some(message) => Err(target.forbidden(message)),
        None => Ok(()),
    }
}
