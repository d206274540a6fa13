//! The wire API between proxies and the control plane: the published `linkerd2-proxy-api`, the gRPC stack that goes with
//! it, and what every server of ours shares: serving, streams of the latest state, and small conversions.

pub mod convert;
pub mod server;

/// Our own addition to the API: trust anchors that change while proxies run (`isthmus.identity.v1`). Generated from
/// `proto/isthmus/identity/v1/trust.proto`; `tests/generated.rs` keeps the two in step.
pub mod trust {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated code")]
    include!(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/isthmus.identity.v1.rs"));
}

pub use linkerd2_proxy_api::{
    destination, grpc_route, http_route, http_types, identity, inbound, meta, net, opaque_route, outbound,
    tap, tls_route,
};
pub use {prost, prost_types, tonic};
