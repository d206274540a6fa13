//! Sets of ports as annotations and flags write them: `80,443,8000-8010`.

use std::fmt;
use std::str::FromStr;

/// A normalised set of port ranges (inclusive, sorted, disjoint).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

/// Why a list of ports is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortSetError {
    /// A token is neither a port nor a range.
    #[error("port {0:?} must be 1 to 65535, or a range such as 8000-8010")]
    Token(String),
    /// A range runs backwards.
    #[error("port range {0:?} ends before it starts")]
    Backwards(String),
}

impl PortSet {
    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(lo, hi)| (*lo..=*hi).contains(&port))
    }

    /// The inclusive ranges, sorted and disjoint.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// Whether no port is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a set of inclusive ranges.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut all: Vec<(u16, u16)> = ranges.into_iter().collect();
        all.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(all.len());
        for (lo, hi) in all {
            match merged.last_mut() {
                Some(last) if u32::from(lo) <= u32::from(last.1) + 1 => last.1 = last.1.max(hi),
                _ => merged.push((lo, hi)),
            }
        }
        Self(merged)
    }

    /// The set of all ports in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.0.iter().chain(&other.0).copied())
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    /// Empty tokens are skipped, so `""` is the empty set.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut ranges = Vec::new();
        for token in s.split(',').map(str::trim).filter(|t| !t.is_empty()) {
            let port = |t: &str| {
                let parsed = t.trim().parse::<u16>().ok().filter(|p| *p != 0);
                parsed.ok_or_else(|| PortSetError::Token(token.to_owned()))
            };
            let (lo, hi) = match token.split_once('-') {
                Some((lo, hi)) => (port(lo)?, port(hi)?),
                None => (port(token)?, port(token)?),
            };
            if hi < lo {
                return Err(PortSetError::Backwards(token.to_owned()));
            }
            ranges.push((lo, hi));
        }
        Ok(Self::from_ranges(ranges))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (lo, hi)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if lo == hi {
                write!(f, "{lo}")?;
            } else {
                write!(f, "{lo}-{hi}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
