//! Rules for roles and their bindings.

use super::{immutable, list, one_of, text};
use crate::error::FieldError;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &str, object: &Value, out: &mut Vec<FieldError>) {
    for (index, rule) in list(&object["rules"]).iter().enumerate() {
        let path = format!("rules[{index}]");
        if list(&rule["verbs"]).is_empty() {
            out.push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        let urls = !list(&rule["nonResourceURLs"]).is_empty();
        let resources = !list(&rule["resources"]).is_empty();
        let groups = !list(&rule["apiGroups"]).is_empty();
        if urls {
            let field = format!("{path}.nonResourceURLs");
            if kind == "Role" {
                let why = "namespaced rules cannot apply to non-resource URLs";
                out.push(FieldError::invalid(field, &rule["nonResourceURLs"], why));
            } else if groups || resources || !list(&rule["resourceNames"]).is_empty() {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                out.push(FieldError::invalid(field, &rule["nonResourceURLs"], why));
            }
            continue;
        }
        if !groups {
            let why = "resource rules must supply at least one api group";
            out.push(FieldError::required(format!("{path}.apiGroups"), why));
        }
        if !resources {
            let why = "resource rules must supply at least one resource";
            out.push(FieldError::required(format!("{path}.resources"), why));
        }
    }
}

pub(super) fn binding(kind: &str, object: &Value, old: Option<&Value>, out: &mut Vec<FieldError>) {
    let role = &object["roleRef"];
    one_of(out, "roleRef.apiGroup", &role["apiGroup"], &[GROUP]);
    let kinds: &[&str] = if kind == "RoleBinding" { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    one_of(out, "roleRef.kind", &role["kind"], kinds);
    if text(&role["name"]).is_empty() {
        out.push(FieldError::required("roleRef.name", ""));
    }
    if let Some(old) = old {
        immutable(out, "roleRef", role, &old["roleRef"]);
    }
    for (index, subject) in list(&object["subjects"]).iter().enumerate() {
        let path = format!("subjects[{index}]");
        if text(&subject["name"]).is_empty() {
            out.push(FieldError::required(format!("{path}.name"), ""));
        }
        let kinds = ["ServiceAccount", "User", "Group"];
        one_of(out, &format!("{path}.kind"), &subject["kind"], &kinds);
        let group = text(&subject["apiGroup"]);
        match subject["kind"].as_str() {
            Some("ServiceAccount") => {
                if !group.is_empty() {
                    let field = format!("{path}.apiGroup");
                    out.push(FieldError::unsupported(field, &subject["apiGroup"], &[""]));
                }
                if kind == "ClusterRoleBinding" && text(&subject["namespace"]).is_empty() {
                    out.push(FieldError::required(format!("{path}.namespace"), ""));
                }
            }
            Some("User" | "Group") if group != GROUP => {
                out.push(FieldError::unsupported(format!("{path}.apiGroup"), &subject["apiGroup"], &[GROUP]));
            }
            _ => {}
        }
    }
}
