//! May they? RBAC over the stored roles and bindings.

use crate::error::ApiError;
use crate::rbac::Rbac;
use crate::store::Store;
use crate::user::{Access, UserInfo};
use parking_lot::Mutex;
use std::sync::Arc;

/// API group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

const TABLES: [&str; 4] = [
    "clusterroles.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
];

/// The index of roles, built anew when one of them has changed.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    built: Mutex<Option<([u64; 4], Arc<Rbac>)>>,
}

impl Authorizer {
    /// The index as of now.
    pub(crate) fn rbac(&self, store: &Store) -> Arc<Rbac> {
        let revisions = TABLES.map(|t| store.table_revision(t));
        let mut built = self.built.lock();
        if let Some((at, rbac)) = built.as_ref()
            && *at == revisions
        {
            return rbac.clone();
        }
        let objects: Vec<_> = TABLES.iter().flat_map(|t| store.list(t, None).objects).collect();
        let rbac = Arc::new(Rbac::new(objects.iter().map(AsRef::as_ref)));
        *built = Some((revisions, rbac.clone()));
        rbac
    }

    /// Refuses what no role allows, in the words of the real server.
    pub(crate) fn authorize(&self, store: &Store, user: &UserInfo, access: &Access) -> Result<(), ApiError> {
        if self.rbac(store).authorize(user, access).allowed {
            return Ok(());
        }
        Err(ApiError::Forbidden(refusal(user, access)))
    }
}

fn refusal(user: &UserInfo, access: &Access) -> String {
    if !access.path.is_empty() {
        return format!("forbidden: User \"{}\" cannot {} path \"{}\"", user.name, access.verb, access.path);
    }
    let qualified = if access.group.is_empty() {
        access.resource.clone()
    } else {
        format!("{}.{}", access.resource, access.group)
    };
    let resource = if access.subresource.is_empty() {
        access.resource.clone()
    } else {
        format!("{}/{}", access.resource, access.subresource)
    };
    let named = if access.name.is_empty() { String::new() } else { format!(" \"{}\"", access.name) };
    let scope = if access.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", access.namespace)
    };
    format!(
        "{qualified}{named} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        user.name, access.verb, access.group
    )
}
