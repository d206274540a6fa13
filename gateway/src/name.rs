//! The names a gateway forwards: services of its own cluster.

/// Whether `name` is `<service>.<namespace>.<suffix>`, or `<pod>.<service>.<namespace>.<suffix>`, for one of the suffixes.
///
/// Names are lower case and without trailing dots.
pub(crate) fn is_ours(name: &str, suffixes: &[String]) -> bool {
    suffixes.iter().any(|suffix| {
        let Some(labels) = name.strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            return false;
        };
        matches!(labels.split('.').count(), 2 | 3) && labels.split('.').all(|label| !label.is_empty())
    })
}

#[cfg(test)]
mod tests;
