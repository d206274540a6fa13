//! May they? RBAC over the stored roles and bindings.

use crate::error::ApiError;
use crate::rbac::{self, Rbac};
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
        let decision = self.rbac(store).authorize(user, access);
        if decision.allowed {
            return Ok(());
        }
        let resource = match access.group.as_str() {
            "" => access.resource.clone(),
            group => format!("{}.{group}", access.resource),
        };
        Err(ApiError::ForbiddenAt {
            resource,
            name: access.name.clone(),
            message: rbac::forbidden(user, access, &decision.reason),
            causes: Vec::new(),
        })
    }
}
