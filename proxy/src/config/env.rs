//! The environment as a value, and how it is shown.

use std::collections::BTreeMap;

/// Prefixes of the variables that are ours to read and show.
const PREFIXES: [&str; 2] = ["LINKERD2_PROXY_", "ISTHMUS_"];

/// The variables that configure the proxy.
#[derive(Clone, Debug, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The variables of this process that concern the proxy.
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(k, _)| PREFIXES.iter().any(|p| k.starts_with(p)))
            .collect()
    }

    /// A variable that is set and not blank.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// Sets a variable.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// What may be shown of an environment: certificates by length only, nothing that looks like a credential.
pub fn redacted(env: &Env) -> BTreeMap<String, String> {
    let show = |key: &str, value: &str| {
        let secret = ["SECRET", "PASSWORD", "_KEY", "CREDENTIAL"].iter().any(|word| key.contains(word))
            || key.ends_with("TOKEN")
            || value.contains("PRIVATE KEY");
        if secret {
            "(redacted)".to_owned()
        } else if value.contains("-----BEGIN") {
            format!("(PEM, {} bytes)", value.len())
        } else {
            value.to_owned()
        }
    };
    env.0.iter().map(|(k, v)| (k.clone(), show(k, v))).collect()
}
