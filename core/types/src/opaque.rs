//! What ports speak, as Services and annotations say it.

use crate::PortSet;

/// The content of `config.linkerd.io/opaque-ports`: numbers, ranges and names of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpaquePorts {
    numbers: PortSet,
    names: Vec<String>,
}

impl OpaquePorts {
    /// Reads a list; whatever is neither number nor range is taken for the name of a port, which may not exist.
    pub fn parse(list: &str) -> Self {
        let mut opaque = Self::default();
        for token in list.split(',').map(str::trim).filter(|t| !t.is_empty()) {
            match token.parse::<PortSet>() {
                Ok(set) => opaque.numbers = opaque.numbers.union(&set),
                Err(_) => opaque.names.push(token.to_owned()),
            }
        }
        opaque
    }

    /// Whether a port is listed, by number or by the name it has.
    pub fn contains(&self, port: u16, name: Option<&str>) -> bool {
        self.numbers.contains(port) || name.is_some_and(|name| self.names.iter().any(|n| n == name))
    }

    /// The names listed.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// What `appProtocol` of a Service port means to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppProtocol {
    /// `http`.
    Http1,
    /// `kubernetes.io/h2c`.
    Http2,
    /// `linkerd.io/opaque`, `linkerd.io/tcp`, and whatever is not known: it may speak first.
    Opaque,
}

impl AppProtocol {
    /// Reads the field. It beats the opaque-ports annotation.
    pub fn parse(text: &str) -> Self {
        match text {
            "http" => Self::Http1,
            "kubernetes.io/h2c" => Self::Http2,
            _ => Self::Opaque,
        }
    }
}

#[cfg(test)]
mod tests;
