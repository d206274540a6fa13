//! What a cluster's version lets a pod have.

/// Version of a Kubernetes API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// `1` of 1.34.
    pub major: u32,
    /// `34` of 1.34.
    pub minor: u32,
}

impl KubernetesVersion {
    /// Reads the two numbers of `/version`. Providers write `29+`.
    pub fn parse(major: &str, minor: &str) -> Option<Self> {
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse().ok()
        };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }

    /// Native sidecars are on by default since 1.29 (KEP-753).
    pub fn has_native_sidecars(self) -> bool {
        self >= Self { major: 1, minor: 29 }
    }

    /// The `sleep` lifecycle action is on by default since 1.30 (KEP-3960); servers before it drop the field.
    pub fn has_sleep_action(self) -> bool {
        self >= Self { major: 1, minor: 30 }
    }
}

impl std::fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests;
