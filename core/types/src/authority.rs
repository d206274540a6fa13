//! `host[:port]` as used for destinations.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host (DNS name without trailing dot, or IP) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// Lower-case DNS name, or an IP in its canonical text.
    pub host: String,
    /// Port number.
    pub port: u16,
}

/// Why a text is not an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No host.
    #[error("authority {0:?} has no host")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("authority {0:?}: port must be 1 to 65535")]
    Port(String),
}

impl Authority {
    /// Parses `host[:port]`, taking `default_port` where none is given.
    ///
    /// # Errors
    /// [`AuthorityError`] naming the part.
    pub fn parse(s: &str, default_port: u16) -> Result<Self, AuthorityError> {
        let (host, port) = match s.rsplit_once(':') {
            // An unbracketed IPv6 address has several colons and no port.
            Some((h, _)) if h.contains(':') && !h.ends_with(']') => (s, None),
            Some((h, p)) => (h, Some(p)),
            None => (s, None),
        };
        let port = match port {
            None => default_port,
            Some(p) => {
                p.parse().ok().filter(|p| *p != 0).ok_or_else(|| AuthorityError::Port(s.to_owned()))?
            }
        };
        let host =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        // Brackets stand around an IPv6 address and nowhere else.
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || matches!(c, '/' | '[' | ']')) {
            return Err(AuthorityError::Host(s.to_owned()));
        }
        Ok(Self { host, port })
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s, 80)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests;
