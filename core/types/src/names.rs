//! Names of clusters and of the services made for them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest DNS label, and so the longest Service name (RFC 1123).
const MAX_LABEL: usize = 63;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or over 63 bytes.
    #[error("label {0:?} must have 1 to 63 characters")]
    Length(String),
    /// A character that is not allowed, or a dash at an end.
    #[error("label {0:?} may hold only a-z, 0-9 and inner dashes")]
    Character(String),
    /// The word is taken.
    #[error("cluster name {0:?} is reserved; choose another")]
    Reserved(String),
}

/// Checks an RFC 1123 label.
///
/// # Errors
/// [`NameError`] naming the label.
pub fn validate_dns_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err(NameError::Length(label.to_owned()));
    }
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !label.bytes().all(fine) || label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Character(label.to_owned()));
    }
    Ok(())
}

/// The name of a linked cluster: a DNS label other than `local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        validate_dns_label(s)?;
        if s == crate::LOCAL_MEMBER {
            return Err(NameError::Reserved(s.to_owned()));
        }
        Ok(Self(s.to_owned()))
    }
}

impl TryFrom<String> for ClusterName {
    type Error = NameError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the mirror of `service` from `cluster`: `<service>-<cluster>`, shortened to 63 characters with a
/// hash of the full name when it is longer. The second value tells whether it was shortened.
pub fn mirror_name(service: &str, cluster: &ClusterName) -> (String, bool) {
    shorten(format!("{service}-{cluster}"))
}

/// The name of the federated service of `service`: `<service>-federated`, shortened like [`mirror_name`].
pub fn federated_name(service: &str) -> (String, bool) {
    shorten(format!("{service}-federated"))
}

fn shorten(full: String) -> (String, bool) {
    if full.len() <= MAX_LABEL {
        return (full, false);
    }
    let hash = fnv1a(full.as_bytes());
    let mut keep = MAX_LABEL - 9;
    while !full.is_char_boundary(keep) {
        keep -= 1;
    }
    let head = full[..keep].trim_end_matches('-');
    (format!("{head}-{:08x}", (hash >> 32) as u32 ^ hash as u32), true)
}

/// FNV-1a, 64 bits: stable across builds, as names must be.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
