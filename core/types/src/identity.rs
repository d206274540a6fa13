//! TLS identity names: `<sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>`.

use crate::names::{NameError, validate_dns_label};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A TLS identity: a DNS-like name of at most 253 bytes, lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(Arc<str>);

/// The parts of an identity that names a Kubernetes service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadIdentity {
    /// Service account.
    pub service_account: String,
    /// Namespace of the service account.
    pub namespace: String,
    /// Namespace of the control plane that issued the identity.
    pub control_plane_namespace: String,
    /// Trust domain.
    pub trust_domain: String,
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Empty or longer than a DNS name may be.
    #[error("identity must have 1 to 253 bytes, this has {0}")]
    Length(usize),
    /// A label is not a DNS label.
    #[error("identity {name:?}: {source}")]
    Label {
        /// The whole text.
        name: String,
        /// What is wrong with the label.
        source: NameError,
    },
    /// Not of the service-account form.
    #[error("identity {0:?} is not <sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>")]
    Form(String),
}

impl Identity {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits a service-account identity into its parts.
    ///
    /// # Errors
    /// [`IdentityError::Form`] when the name is of another shape.
    pub fn workload(&self) -> Result<WorkloadIdentity, IdentityError> {
        let form = || IdentityError::Form(self.0.to_string());
        let (sa_ns, rest) = self.0.split_once(".serviceaccount.identity.").ok_or_else(form)?;
        // A service account may contain dots, a namespace may not.
        let (service_account, namespace) = sa_ns.rsplit_once('.').ok_or_else(form)?;
        let (control_plane_namespace, trust_domain) = rest.split_once('.').ok_or_else(form)?;
        Ok(WorkloadIdentity {
            service_account: service_account.to_owned(),
            namespace: namespace.to_owned(),
            control_plane_namespace: control_plane_namespace.to_owned(),
            trust_domain: trust_domain.to_owned(),
        })
    }
}

impl WorkloadIdentity {
    /// The TLS name of this workload.
    ///
    /// # Errors
    /// When a part is not made of DNS labels, or the name is too long.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        self.to_string().parse()
    }
}

impl fmt::Display for WorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.serviceaccount.identity.{}.{}",
            self.service_account, self.namespace, self.control_plane_namespace, self.trust_domain
        )
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let s = s.strip_suffix('.').unwrap_or(s);
        if s.is_empty() || s.len() > 253 {
            return Err(IdentityError::Length(s.len()));
        }
        for label in s.split('.') {
            validate_dns_label(label)
                .map_err(|source| IdentityError::Label { name: s.to_owned(), source })?;
        }
        Ok(Self(s.into()))
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<Identity> for String {
    fn from(id: Identity) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
