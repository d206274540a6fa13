//! Who is asking, and what for.

use std::collections::BTreeMap;

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name, as in `system:serviceaccount:default:web`.
    pub name: String,
    /// Stable id, where the authenticator knows one.
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` among them.
    pub groups: Vec<String>,
    /// What else the authenticator said, as in `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// One access, as authorization sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case HTTP method
    /// of a non-resource request.
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// API version (carried for reviews; rules do not look at it).
    pub version: String,
    /// Plural; empty for a non-resource request.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace; empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Object name, or empty.
    pub name: String,
    /// Path of a non-resource request, as `/healthz`; empty otherwise.
    pub path: String,
}
