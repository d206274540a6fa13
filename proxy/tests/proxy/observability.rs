//! What a proxy tells of itself: metrics, access log, limits that show.

mod docs;
mod labels;

use crate::app;
use crate::control::{anyone, server};
use crate::harness::{CLIENT, LIMIT, Mesh, Proxy, SERVER, Setup, get, send};
use crate::peers::exchange;
use http::{Request, Version};
use http_body_util::Full;
use mesh_api::inbound as api;
use mesh_api::inbound::http_local_rate_limit::Limit;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An access log that the test reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn all(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

/// A proxy that logs requests in `format`.
async fn logging(format: &str, settings: &[(&str, &str)]) -> (Proxy, Lines) {
    let (lines, app) = (Lines::default(), app::http().await);
    let settings = [&[("ACCESS_LOG", format)][..], settings].concat();
    let setup =
        Setup { app, settings: &settings, access_log: Some(Box::new(lines.clone())), ..Setup::default() };
    (Mesh::new().await.proxy(setup).await, lines)
}

#[tokio::test]
async fn apache_access_logs_have_a_line_for_each_request_and_why_it_was_refused() {
    let (proxy, lines) = logging("apache", &[("INBOUND_DEFAULT_POLICY", "all-authenticated")]).await;
    get(proxy.meshed(CLIENT).await, Version::HTTP_11, "/a?b").await;
    get(proxy.plain().await, Version::HTTP_2, "/refused").await;
    exchange(&mut proxy.plain().await, "GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "").await;
    proxy.until("logged", || async { lines.all().len() == 3 }).await;
    let lines = lines.all();
    let (start, end) = (format!(" {CLIENT} - ["), "Z] \"GET /a?b HTTP/1.1\" 200 13");
    assert!(
        lines[0].starts_with("127.0.0.1:") && lines[0].contains(&start) && lines[0].ends_with(end),
        "{lines:?}"
    );
    assert!(
        lines[1].contains(" - - [") && lines[1].contains("\"GET http://web.shop/refused HTTP/2.0\" 403"),
        "{lines:?}"
    );
    assert!(lines[1].contains("unauthorized"), "{lines:?}");
    assert!(lines[2].contains(" 400 ") && lines[2].contains("host is given twice"), "{lines:?}");
}

#[tokio::test]
async fn json_access_logs_are_objects() {
    let (proxy, lines) = logging("json", &[]).await;
    let request =
        Request::get("/").header("host", "web").header("user-agent", "test").header("x-b3-traceid", "77");
    send(proxy.meshed(CLIENT).await, Version::HTTP_11, request.body(Full::default()).unwrap()).await.unwrap();
    proxy.until("logged", || async { !lines.all().is_empty() }).await;
    let line: serde_json::Value = serde_json::from_str(&lines.all()[0]).unwrap();
    for (field, value) in [("client.id", CLIENT), ("host", "web"), ("method", "GET"), ("trace_id", "77")] {
        assert_eq!(line[field], value);
    }
    assert_eq!((&line["status"], &line["user_agent"]), (&200.into(), &"test".into()));
}

#[tokio::test]
async fn without_a_format_nothing_is_logged() {
    let (lines, app) = (Lines::default(), app::http().await);
    let setup = Setup { app, access_log: Some(Box::new(lines.clone())), ..Setup::default() };
    let proxy = Mesh::new().await.proxy(setup).await;
    get(proxy.plain().await, Version::HTTP_11, "/").await;
    assert!(lines.all().is_empty());
}

/// A port whose requests are limited.
fn limited(total: Option<u32>, identity: Option<u32>, overrides: &[(u32, &str)]) -> api::Server {
    let limit = |requests_per_second| Limit { requests_per_second };
    let special = |(rate, name): &(u32, &str)| api::http_local_rate_limit::Override {
        limit: Some(limit(*rate)),
        clients: Some(api::http_local_rate_limit::r#override::ClientIdentities {
            identities: vec![api::Identity { name: (*name).to_owned() }],
        }),
    };
    let limits = api::HttpLocalRateLimit {
        metadata: None,
        total: total.map(limit),
        identity: identity.map(limit),
        overrides: overrides.iter().map(special).collect(),
    };
    let detect = api::proxy_protocol::Detect {
        timeout: Some(Duration::from_secs(5).try_into().unwrap()),
        http_routes: vec![],
        http_local_rate_limit: Some(limits),
    };
    server(api::proxy_protocol::Kind::Detect(detect), vec![anyone()])
}

/// Sets a port's policy and waits until the proxy goes by it.
async fn set_policy(proxy: &Proxy, port: u16, policy: api::Server) {
    proxy.mesh.policy.set(port, policy).await;
    let in_force = || async {
        get(proxy.plain().await, Version::HTTP_11, "/").await;
        let (_, text) = proxy.admin("/metrics").await;
        text.lines()
            .any(|l| l.starts_with("inbound_http_authz_allow_total") && l.contains("srv_name=\"test\""))
    };
    proxy.until("in force", in_force).await;
}

/// Sends requests on connections of their own until one is refused; how many were not, and the refusal.
async fn until_limited(
    proxy: &Proxy,
    client: &str,
    version: Version,
) -> (u32, http::Response<hyper::body::Incoming>) {
    for passed in 0..10_000 {
        let request = Request::get("/").header("host", "web.shop").body(Full::default()).unwrap();
        let response = send(proxy.meshed(client).await, version, request).await.unwrap();
        if response.status() != 200 {
            return (passed, response);
        }
    }
    panic!("never limited");
}

#[tokio::test]
async fn a_rate_limit_holds_for_all_workers_together() {
    const RATE: u32 = 40;
    let app = app::http().await;
    let proxy = Proxy::start(app, &[("CORES", "2")]).await;
    set_policy(&proxy, app.port(), limited(Some(RATE), None, &[])).await;
    let started = Instant::now();
    let (passed, refusal) = until_limited(&proxy, CLIENT, Version::HTTP_11).await;
    assert_eq!(refusal.status(), 429);
    assert!(refusal.headers()["l5d-proxy-error"].to_str().unwrap().contains("total rate limit exceeded"));
    // A second's worth and what comes back meanwhile; with a bucket for each worker it would be twice as much.
    let allowed = f64::from(RATE) * (1.0 + started.elapsed().as_secs_f64()) + 1.0;
    assert!(f64::from(passed) <= allowed, "{passed} passed, {allowed} allowed");
    proxy
        .until_metric("inbound_http_local_ratelimit_total", &["scope=\"total\"", "ratelimit_name", CLIENT])
        .await;
}

#[tokio::test]
async fn each_identity_has_a_limit_of_its_own_or_a_special_one() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    set_policy(&proxy, app.port(), limited(None, Some(5), &[(1000, SERVER)])).await;
    let (_, refusal) = until_limited(&proxy, CLIENT, Version::HTTP_2).await;
    assert_eq!(refusal.status(), 429);
    let other = "other.shop.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(get(proxy.meshed(other).await, Version::HTTP_11, "/").await.status(), 200);
    for _ in 0..20 {
        assert_eq!(get(proxy.meshed(SERVER).await, Version::HTTP_11, "/").await.status(), 200);
    }
    proxy.until_metric("inbound_http_local_ratelimit_total", &["scope=\"identity\""]).await;
}

#[tokio::test]
async fn grpc_clients_are_told_that_resources_are_exhausted() {
    let app = app::http().await;
    let proxy = Proxy::start(app, &[]).await;
    proxy.mesh.policy.set(app.port(), limited(Some(1), None, &[])).await;
    let exhausted = || async {
        let request = Request::post("/p.S/M").header("content-type", "application/grpc");
        let request = request.body(Full::default()).unwrap();
        let response = send(proxy.plain().await, Version::HTTP_2, request).await.unwrap();
        response.headers().get("grpc-status").is_some_and(|code| code == "8")
    };
    proxy.until("limited", exhausted).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_while_the_others_have_requests() {
    let proxy = Proxy::start(app::http().await, &[("ISTHMUS_MAX_CONNECTIONS", "2")]).await;
    let request = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    let (mut first, mut second) = (proxy.plain().await, proxy.plain().await);
    let (begin, end) = request.split_once("host").unwrap();
    for io in [&mut first, &mut second] {
        assert!(exchange(io, request, " /").await.starts_with("HTTP/1.1 200"));
        io.write_all(begin.as_bytes()).await.unwrap();
    }
    // For longer than it takes to be without a request: theirs has begun.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        let mut third = proxy.plain().await;
        let closed = tokio::time::timeout(LIMIT, third.read(&mut [0; 1])).await;
        assert!(matches!(closed.expect("it was let in"), Ok(0) | Err(_)));
    }
    proxy
        .until_metric(
            "isthmus_tcp_accept_errors_total",
            &["direction=\"inbound\"", "reason=\"connection limit\""],
        )
        .await;
    for io in [&mut first, &mut second] {
        assert!(exchange(io, &format!("host{end}"), " /").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_connection_without_a_request_gives_way_to_one_beyond_the_limit() {
    let proxy = Proxy::start(app::http().await, &[("ISTHMUS_MAX_CONNECTIONS", "2")]).await;
    let request = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    let (mut first, mut second) = (proxy.plain().await, proxy.plain().await);
    for io in [&mut first, &mut second] {
        assert!(exchange(io, request, " /").await.starts_with("HTTP/1.1 200"));
    }
    let served =
        || async { exchange(&mut proxy.plain().await, request, " /").await.starts_with("HTTP/1.1 200") };
    proxy.until("served", served).await;
    let (mut one, mut other) = ([0], [0]);
    let closed = tokio::select! {
        closed = first.read(&mut one) => closed,
        closed = second.read(&mut other) => closed,
    };
    assert_eq!(closed.unwrap(), 0);
}

#[tokio::test]
async fn every_worker_tells_of_itself() {
    let proxy = Proxy::start(app::http().await, &[("CORES", "2")]).await;
    let io = proxy.plain().await;
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        for name in
            ["isthmus_worker_tasks", "isthmus_worker_busy_seconds_total", "isthmus_worker_parks_total"]
        {
            proxy.until_metric(name, &[worker]).await;
        }
        proxy.until_metric("isthmus_worker_connections", &[worker, "direction=\"inbound\""]).await;
    }
    proxy.until_metric("isthmus_worker_connections", &["direction=\"inbound\"", "} 1"]).await;
    drop(io);
}

#[tokio::test]
async fn identity_control_plane_and_process_show() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let (_, text) = proxy.admin("/metrics").await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for name in
        ["control_identity_cert_expiration_timestamp_seconds", "identity_cert_expiration_timestamp_seconds"]
    {
        assert!((now..now + 700.0).contains(&value(name)), "{name}");
    }
    assert!((now - 60.0..=now + 1.0).contains(&value("control_identity_cert_refresh_timestamp_seconds")));
    assert!(value("process_open_fds") > 0.0 && value("process_start_time_seconds") > 0.0);
    proxy.until_metric("control_request_total", &["addr=\"localhost:", "tls=\"loopback\""]).await;
    proxy
        .until_metric("control_response_total", &["classification=\"success\"", "status_code=\"200\""])
        .await;
    proxy.until_metric("control_response_latency_ms_bucket", &["le=\"+Inf\""]).await;
}

#[tokio::test]
async fn requests_are_counted_by_server_and_route() {
    let proxy = Proxy::start(app::http().await, &[]).await;
    let request = Request::post("/echo").header("host", "web").body(Full::from("x".repeat(500))).unwrap();
    let response = send(proxy.meshed(CLIENT).await, Version::HTTP_11, request).await.unwrap();
    http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    let labels = ["parent_name=\"all-unauthenticated\"", "parent_kind=\"default\"", "route_name=\"default\""];
    proxy.until_metric("inbound_http_requests_total", &labels).await;
    proxy
        .until_metric("inbound_http_statuses_total", &["http_status=\"200\"", "error=\"\"", labels[0]])
        .await;
    for name in ["request_duration_seconds", "response_duration_seconds"] {
        proxy.until_metric(&format!("inbound_http_{name}_count"), &["} 1"]).await;
    }
    for name in ["request_frame_size_bytes", "response_frame_size_bytes"] {
        proxy.until_metric(&format!("inbound_http_{name}_sum"), &["} 500.0"]).await;
    }
}

#[tokio::test]
async fn what_is_let_in_to_be_audited_shows() {
    let proxy = Proxy::start(app::http().await, &[("INBOUND_DEFAULT_POLICY", "audit")]).await;
    assert_eq!(get(proxy.plain().await, Version::HTTP_11, "/").await.status(), 200);
    proxy
        .until_metric("inbound_http_authz_allow_total", &["authz_name=\"audit\"", "authz_kind=\"default\""])
        .await;
}
