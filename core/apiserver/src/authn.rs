//! Who is asking: client certificates and service account tokens.

#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use tokens::{BoundTo, TokenFault, Tokens};

use crate::store::Store;
use crate::user::UserInfo;
use mesh_tls::Subject;

/// Group of everybody who was recognised.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";

/// The user a client certificate names.
pub(crate) fn certificate_user(subject: &Subject) -> UserInfo {
    let mut groups = subject.organizations.clone();
    groups.push(AUTHENTICATED.to_owned());
    UserInfo { name: subject.common_name.clone(), groups, ..UserInfo::default() }
}

/// The user of a request that presents nothing.
pub(crate) fn anonymous() -> UserInfo {
    UserInfo {
        name: "system:anonymous".into(),
        groups: vec!["system:unauthenticated".into()],
        ..UserInfo::default()
    }
}

/// The user of a bearer token meant for this API server.
pub(crate) fn token_user(tokens: &Tokens, store: &Store, token: &str) -> Result<UserInfo, TokenFault> {
    tokens.verify(store, token, &[]).map(|verified| verified.user)
}
