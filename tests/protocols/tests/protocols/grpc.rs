//! The interoperability suite of gRPC: its own client and server, through both proxies.

use crate::bed::{command, pair, run, serve, tool};
use mesh_bed::{Process, SERVER_IP};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

const PORT: u16 = 8081;
/// A busy machine may take long to start a program.
const LIMIT: Duration = Duration::from_secs(30);

static SERVER: LazyLock<Process> = LazyLock::new(|| {
    let bed = pair();
    let mut server =
        serve(bed, "interop-server", &command(tool("ISTHMUS_GRPC_SERVER"), &["--port", &PORT.to_string()]));
    let listens = || bed.server.run(|| TcpStream::connect(("127.0.0.1", PORT)).is_ok()).unwrap();
    server.wait_until(LIMIT, listens).unwrap();
    bed.publish(PORT);
    server
});

/// Every case that needs neither Google's clouds nor their credentials, and that the server of the same module answers:
/// it has no name to tell in `pick_first_unary`.
const CASES: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

#[test]
fn every_interoperability_case_passes_through_both_proxies() {
    let failed: Vec<String> = CASES.iter().filter_map(|case| client(case, &[]).err()).collect();
    assert!(failed.is_empty(), "{} of {} cases fail:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

#[test]
fn load_reports_reach_the_client_in_trailers_and_on_a_stream() {
    let balancer = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;
    for case in ["orca_per_rpc", "orca_oob"] {
        client(case, &[&format!("--service_config_json={balancer}")]).unwrap();
    }
}

#[test]
fn soaks_over_one_and_over_many_channels_lose_nothing() {
    let flags = [
        "--soak_iterations=50",
        "--soak_max_failures=0",
        "--soak_per_iteration_max_acceptable_latency_ms=10000",
        "--soak_overall_timeout_seconds=30",
    ];
    for case in ["rpc_soak", "channel_soak"] {
        client(case, &flags).unwrap();
    }
}

fn client(case: &str, more: &[&str]) -> Result<String, String> {
    assert!(SERVER.usage().is_ok(), "the interoperability server has ended: {}", SERVER.said());
    let (host, port) = (format!("--server_host={SERVER_IP}"), format!("--server_port={PORT}"));
    let case = format!("--test_case={case}");
    let mut args = vec![host.as_str(), &port, "--use_tls=false", &case];
    args.extend(more);
    run(tool("ISTHMUS_GRPC_CLIENT"), &args)
}
