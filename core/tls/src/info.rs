//! What connections between proxies may be made with, for metrics.

use crate::mesh::mesh_provider;
use std::fmt::{Debug, Write};

/// The labels of Linkerd's `rustls_info`, in its form: a comma after each member of a list, most preferred first.
pub fn crypto_info() -> [(&'static str, String); 5] {
    let provider = mesh_provider();
    let suites = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_some());
    [
        ("tls_suites", list(suites.map(|suite| suite.suite()))),
        ("tls_kx_groups", list(provider.kx_groups.iter().map(|group| group.name()))),
        ("tls_rand", format!("{:?}", provider.secure_random)),
        ("tls_key_provider", format!("{:?}", provider.key_provider)),
        ("tls_fips", provider.fips().to_string()),
    ]
}

fn list(members: impl Iterator<Item = impl Debug>) -> String {
    members.fold(String::new(), |mut list, member| {
        // Writing to a string cannot fail.
        let _ = write!(list, "{member:?},");
        list
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_group_is_preferred_and_no_suite_is_older_than_tls_1_3() {
        let info = crypto_info();
        let value = |name| info.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
        assert!(value("tls_kx_groups").starts_with("X25519MLKEM768,"), "{info:?}");
        assert!(
            value("tls_suites").trim_end_matches(',').split(',').all(|suite| suite.starts_with("TLS13_"))
        );
        assert_eq!((value("tls_rand"), value("tls_key_provider")), ("AwsLcRs", "AwsLcRs"));
    }
}
