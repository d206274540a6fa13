//! Small conversions to messages of the API.

use crate::destination::{TlsIdentity, tls_identity};
use crate::meta;
use std::time::Duration;

/// A duration as the API writes it; one too long for it becomes the longest there is.
pub fn duration(d: Duration) -> prost_types::Duration {
    d.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// The TLS identity of an endpoint whose certificate names `name`, which is its SNI too.
pub fn dns_identity(name: &str) -> TlsIdentity {
    let dns = tls_identity::DnsLikeIdentity { name: name.to_owned() };
    TlsIdentity {
        strategy: Some(tls_identity::Strategy::DnsLikeIdentity(dns.clone())),
        server_name: Some(dns),
    }
}

/// Metadata of something that no resource describes, such as `default`.
pub fn default_metadata(name: &str) -> meta::Metadata {
    meta::Metadata { kind: Some(meta::metadata::Kind::Default(name.to_owned())) }
}

/// Metadata of a core Kubernetes object; a port of 0 stands for none.
pub fn object_metadata(kind: &str, namespace: &str, name: &str, port: u16) -> meta::Metadata {
    let resource = meta::Resource {
        group: "core".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        section: String::new(),
        port: u32::from(port),
    };
    meta::Metadata { kind: Some(meta::metadata::Kind::Resource(resource)) }
}
