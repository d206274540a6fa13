//! The default route of a port that speaks gRPC and is retried by gRPC codes.

use super::{RETRY_BACKOFF, RETRY_MAX_BYTES, Routes, all_backends, backoff, timeouts};
use crate::model::Retry;
use mesh_api::convert::{default_metadata, duration};
use mesh_api::grpc_route::GrpcRouteMatch;
use mesh_api::outbound::{GrpcRoute, grpc_route as grpc};

pub(super) fn route(routes: &Routes<'_>) -> GrpcRoute {
    let backends = all_backends(routes);
    let backends = backends.map(|b| grpc::RouteBackend { backend: Some(b), ..grpc::RouteBackend::default() });
    let first = grpc::distribution::FirstAvailable { backends: backends.collect() };
    let rule = grpc::Rule {
        matches: vec![GrpcRouteMatch::default()],
        backends: Some(grpc::Distribution { kind: Some(grpc::distribution::Kind::FirstAvailable(first)) }),
        timeouts: timeouts(&routes.balance.timeouts),
        retry: routes.balance.retry.as_ref().map(retry),
        allow_l5d_request_headers: routes.allow_l5d_request_headers,
        ..grpc::Rule::default()
    };
    GrpcRoute { metadata: Some(default_metadata("grpc")), hosts: Vec::new(), rules: vec![rule] }
}

fn retry(retry: &Retry) -> grpc::Retry {
    let has = |code| retry.grpc.contains(&code);
    grpc::Retry {
        max_retries: retry.limit,
        max_request_bytes: RETRY_MAX_BYTES,
        conditions: Some(grpc::retry::Conditions {
            cancelled: has(1),
            deadine_exceeded: has(4),
            resource_exhausted: has(8),
            internal: has(13),
            unavailable: has(14),
        }),
        timeout: retry.timeout.map(duration),
        backoff: Some(backoff(&RETRY_BACKOFF)),
    }
}
