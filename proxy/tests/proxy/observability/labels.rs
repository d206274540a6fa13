//! Which labels each family of a proxy has, for `docs/metrics.md`. A family that is missing here, or a series with a label
//! that is, fails the test in `docs.rs`.

/// One family.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) labels: &'static [&'static [&'static str]],
}

const fn row(name: &'static str, labels: &'static [&'static [&'static str]]) -> Row {
    Row { name, labels }
}

const TARGET: &[&str] = &["target_addr", "target_ip", "target_port"];
const ERROR_TARGET: &[&str] = &["error", "target_addr", "target_ip", "target_port", "client_id"];
/// Connections and requests of both directions: what is known of the peer, and where it is.
const PEER: &[&str] =
    &["direction", "tls", "no_tls_reason", "client_id", "server_id", "authority", "dst_*", "zone_*"];
/// What is known of a client.
const CLIENT: &[&str] = &["direction", "tls", "no_tls_reason", "client_id"];
const SERVER: &[&str] = &["srv_group", "srv_kind", "srv_name", "srv_port"];
const IN_ROUTE: &[&str] = &["route_group", "route_kind", "route_name"];
const AUTHZ: &[&str] = &["authz_group", "authz_kind", "authz_name"];
const IN_PARENT: &[&str] = &["parent_group", "parent_kind", "parent_name", "parent_port"];
const PARENT: &[&str] =
    &["parent_group", "parent_kind", "parent_namespace", "parent_name", "parent_port", "parent_section_name"];
const ROUTE: &[&str] = &["route_group", "route_kind", "route_namespace", "route_name"];
const BACKEND: &[&str] = &[
    "backend_group",
    "backend_kind",
    "backend_namespace",
    "backend_name",
    "backend_port",
    "backend_section_name",
];
const HOST: &[&str] = &["hostname"];
const OUTCOME: &[&str] = &["status_code", "classification", "grpc_status", "error"];
const CONTROL: &[&str] = &["addr", "tls", "server_id"];
const NONE: &[&[&str]] = &[];

pub(super) const LABELS: &[Row] = &[
    row("control_dns_resolutions_total", &[&["record", "result"]]),
    row("control_identity_cert_expiration_timestamp_seconds", NONE),
    row("control_identity_cert_refresh_timestamp_seconds", NONE),
    row("control_identity_cert_refreshes_total", NONE),
    row("control_request_total", &[CONTROL]),
    row("control_response_latency_ms", &[CONTROL]),
    row("control_response_total", &[CONTROL, OUTCOME]),
    row("identity_cert_expiration_timestamp_seconds", NONE),
    row("identity_cert_refresh_count", NONE),
    row("inbound_grpc_request_duration_seconds", &[IN_PARENT, IN_ROUTE]),
    row("inbound_grpc_request_frame_size_bytes", &[IN_PARENT, IN_ROUTE]),
    row("inbound_grpc_requests_total", &[IN_PARENT, IN_ROUTE]),
    row("inbound_grpc_response_duration_seconds", &[IN_PARENT, IN_ROUTE]),
    row("inbound_grpc_response_frame_size_bytes", &[IN_PARENT, IN_ROUTE]),
    row("inbound_grpc_statuses_total", &[IN_PARENT, IN_ROUTE, &["grpc_status", "error"]]),
    row("inbound_http_authz_allow_total", &[CLIENT, TARGET, SERVER, IN_ROUTE, AUTHZ]),
    row("inbound_http_authz_deny_total", &[CLIENT, TARGET, SERVER, IN_ROUTE]),
    row("inbound_http_errors_total", &[ERROR_TARGET]),
    row(
        "inbound_http_local_ratelimit_total",
        &[CLIENT, TARGET, SERVER, &["ratelimit_group", "ratelimit_kind", "ratelimit_name", "scope"]],
    ),
    row("inbound_http_request_duration_seconds", &[IN_PARENT, IN_ROUTE]),
    row("inbound_http_request_frame_size_bytes", &[IN_PARENT, IN_ROUTE]),
    row("inbound_http_requests_total", &[IN_PARENT, IN_ROUTE]),
    row("inbound_http_response_duration_seconds", &[IN_PARENT, IN_ROUTE]),
    row("inbound_http_response_frame_size_bytes", &[IN_PARENT, IN_ROUTE]),
    row("inbound_http_route_not_found_total", &[CLIENT, TARGET, SERVER]),
    row("inbound_http_statuses_total", &[IN_PARENT, IN_ROUTE, &["http_status", "error"]]),
    row("inbound_tcp_authz_allow_total", &[CLIENT, TARGET, SERVER, AUTHZ]),
    row("inbound_tcp_authz_deny_total", &[CLIENT, TARGET, SERVER]),
    row("inbound_tcp_authz_terminate_total", &[CLIENT, TARGET, SERVER]),
    row("inbound_tcp_detect_http_duration_seconds", &[SERVER]),
    row("inbound_tcp_detect_http_results_total", &[SERVER, &["result"]]),
    row("inbound_tcp_errors_total", &[ERROR_TARGET]),
    row(
        "inbound_tcp_transport_header_connections_total",
        &[&["session_protocol", "target_port", "target_name", "client_id"]],
    ),
    row("isthmus_access_log_dropped_total", NONE),
    row("isthmus_inbound_tls_accepts_total", &[&["result"]]),
    row("isthmus_inbound_tls_handshake_duration_seconds", NONE),
    row("isthmus_outbound_ejections_total", &[BACKEND, &["cause"]]),
    row("isthmus_outbound_http_endpoints_ejected", &[BACKEND]),
    row("isthmus_outbound_tcp_endpoints_ejected", &[BACKEND]),
    row("isthmus_outbound_tls_endpoints_ejected", &[BACKEND]),
    row("isthmus_tcp_accept_errors_total", &[&["direction", "reason"]]),
    row("isthmus_worker_busy_seconds_total", &[&["worker"]]),
    row("isthmus_worker_connections", &[&["direction", "worker"]]),
    row("isthmus_worker_parks_total", &[&["worker"]]),
    row("isthmus_worker_tasks", &[&["worker"]]),
    row("outbound_grpc_route_backend_requests_total", &[PARENT, ROUTE, BACKEND, HOST]),
    row("outbound_grpc_route_backend_response_duration_seconds", &[PARENT, ROUTE, BACKEND, HOST]),
    row("outbound_grpc_route_backend_response_frame_size_bytes", &[PARENT, ROUTE, BACKEND, HOST]),
    row(
        "outbound_grpc_route_backend_response_statuses_total",
        &[PARENT, ROUTE, BACKEND, HOST, &["grpc_status", "error"]],
    ),
    row("outbound_grpc_route_request_duration_seconds", &[PARENT, ROUTE, HOST]),
    row("outbound_grpc_route_request_frame_size_bytes", &[PARENT, ROUTE, HOST]),
    row("outbound_grpc_route_request_statuses_total", &[PARENT, ROUTE, HOST, &["grpc_status", "error"]]),
    row("outbound_grpc_route_retry_limit_exceeded_total", &[PARENT, ROUTE, HOST]),
    row("outbound_grpc_route_retry_overflow_total", &[PARENT, ROUTE, HOST]),
    row("outbound_grpc_route_retry_requests_total", &[PARENT, ROUTE, HOST]),
    row("outbound_grpc_route_retry_successes_total", &[PARENT, ROUTE, HOST]),
    row("outbound_http_balancer_endpoints", &[BACKEND, &["endpoint_state"]]),
    row("outbound_http_balancer_p2c_endpoints", &[BACKEND]),
    row("outbound_http_balancer_p2c_updates_total", &[BACKEND, &["op"]]),
    row("outbound_http_balancer_queue_gate_open_time", &[BACKEND]),
    row("outbound_http_balancer_queue_gate_open_total", &[BACKEND]),
    row("outbound_http_balancer_queue_gate_shut_time", &[BACKEND]),
    row("outbound_http_balancer_queue_gate_shut_total", &[BACKEND]),
    row("outbound_http_balancer_queue_gate_timeout_seconds", &[BACKEND]),
    row("outbound_http_balancer_queue_latency_seconds", &[BACKEND]),
    row("outbound_http_balancer_queue_length", &[BACKEND]),
    row("outbound_http_balancer_queue_requests_total", &[BACKEND]),
    row("outbound_http_errors_total", &[ERROR_TARGET]),
    row("outbound_http_route_backend_requests_total", &[PARENT, ROUTE, BACKEND, HOST]),
    row("outbound_http_route_backend_response_duration_seconds", &[PARENT, ROUTE, BACKEND, HOST]),
    row("outbound_http_route_backend_response_frame_size_bytes", &[PARENT, ROUTE, BACKEND, HOST]),
    row(
        "outbound_http_route_backend_response_statuses_total",
        &[PARENT, ROUTE, BACKEND, HOST, &["http_status", "error"]],
    ),
    row("outbound_http_route_request_duration_seconds", &[PARENT, ROUTE, HOST]),
    row("outbound_http_route_request_frame_size_bytes", &[PARENT, ROUTE, HOST]),
    row("outbound_http_route_request_statuses_total", &[PARENT, ROUTE, HOST, &["http_status", "error"]]),
    row("outbound_http_route_retry_limit_exceeded_total", &[PARENT, ROUTE, HOST]),
    row("outbound_http_route_retry_overflow_total", &[PARENT, ROUTE, HOST]),
    row("outbound_http_route_retry_requests_total", &[PARENT, ROUTE, HOST]),
    row("outbound_http_route_retry_successes_total", &[PARENT, ROUTE, HOST]),
    row("outbound_tcp_balancer_endpoints", &[BACKEND, &["endpoint_state"]]),
    row("outbound_tcp_balancer_p2c_endpoints", &[BACKEND]),
    row("outbound_tcp_balancer_p2c_updates_total", &[BACKEND, &["op"]]),
    row("outbound_tcp_balancer_queue_gate_open_time", &[BACKEND]),
    row("outbound_tcp_balancer_queue_gate_open_total", &[BACKEND]),
    row("outbound_tcp_balancer_queue_gate_shut_time", &[BACKEND]),
    row("outbound_tcp_balancer_queue_gate_shut_total", &[BACKEND]),
    row("outbound_tcp_balancer_queue_gate_timeout_seconds", &[BACKEND]),
    row("outbound_tcp_balancer_queue_latency_seconds", &[BACKEND]),
    row("outbound_tcp_balancer_queue_length", &[BACKEND]),
    row("outbound_tcp_balancer_queue_requests_total", &[BACKEND]),
    row("outbound_tcp_detect_http_duration_seconds", &[PARENT]),
    row("outbound_tcp_detect_http_results_total", &[PARENT, &["result"]]),
    row("outbound_tcp_errors_total", &[ERROR_TARGET]),
    row("outbound_tcp_protocol_connections_total", &[&["protocol"], PARENT]),
    row("outbound_tcp_route_close_total", &[PARENT, ROUTE, &["target_ip", "target_port", "error"]]),
    row("outbound_tcp_route_open_total", &[PARENT, ROUTE, &["target_ip", "target_port"]]),
    row("outbound_tls_balancer_endpoints", &[BACKEND, &["endpoint_state"]]),
    row("outbound_tls_balancer_p2c_endpoints", &[BACKEND]),
    row("outbound_tls_balancer_p2c_updates_total", &[BACKEND, &["op"]]),
    row("outbound_tls_balancer_queue_gate_open_time", &[BACKEND]),
    row("outbound_tls_balancer_queue_gate_open_total", &[BACKEND]),
    row("outbound_tls_balancer_queue_gate_shut_time", &[BACKEND]),
    row("outbound_tls_balancer_queue_gate_shut_total", &[BACKEND]),
    row("outbound_tls_balancer_queue_gate_timeout_seconds", &[BACKEND]),
    row("outbound_tls_balancer_queue_latency_seconds", &[BACKEND]),
    row("outbound_tls_balancer_queue_length", &[BACKEND]),
    row("outbound_tls_balancer_queue_requests_total", &[BACKEND]),
    row("outbound_tls_route_close_total", &[PARENT, ROUTE, HOST, &["error"]]),
    row("outbound_tls_route_open_total", &[PARENT, ROUTE, HOST]),
    row("process_cpu_seconds_total", NONE),
    row("process_max_fds", NONE),
    row("process_open_fds", NONE),
    row("process_resident_memory_bytes", NONE),
    row("process_start_time_seconds", NONE),
    row("process_threads", NONE),
    row("process_virtual_memory_bytes", NONE),
    row("proxy_build_info", &[&["version"]]),
    row("request_total", &[PEER, TARGET, SERVER, IN_ROUTE, AUTHZ]),
    row("response_latency_ms", &[PEER, TARGET, SERVER, IN_ROUTE, AUTHZ, &["status_code"]]),
    row("response_total", &[PEER, TARGET, SERVER, IN_ROUTE, AUTHZ, OUTCOME]),
    row("rustls_info", &[&["tls_suites", "tls_kx_groups", "tls_rand", "tls_key_provider", "tls_fips"]]),
    row("tcp_close_total", &[&["peer"], PEER, TARGET, &["errno"]]),
    row("tcp_open_connections", &[&["peer"], PEER, TARGET]),
    row("tcp_open_total", &[&["peer"], PEER, TARGET]),
    row("tcp_read_bytes_total", &[&["peer"], PEER, TARGET]),
    row("tcp_write_bytes_total", &[&["peer"], PEER, TARGET]),
];
