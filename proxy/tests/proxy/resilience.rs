//! The outbound side as a Service's policy asks: timeouts, retries and their budget, overrides, limits.

use crate::destinations::{endpoint, service};
use crate::harness::{LIMIT, Mesh, Proxy, get, send, text};
use crate::outbound::{VIRTUAL, WEB, client, client_with};
use crate::scripted::{Answer, App, answer, duration, retries, ruled, silence};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use mesh_api::http_route::Timeouts;
use mesh_api::outbound::{OutboundPolicy, http_route};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

async fn mesh(policy: OutboundPolicy, apps: &[&App]) -> Arc<Mesh> {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, policy).await;
    mesh.destinations.set_endpoints(WEB, apps.iter().map(|app| endpoint(app.addr)).collect()).await;
    mesh
}

async fn ask(client: &Proxy, fields: &[(&str, &str)]) -> Response<Incoming> {
    let mut request = Request::get("/").header("host", "web.shop");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(client.out().await, Version::HTTP_11, request.body(Full::default()).unwrap()).await.unwrap()
}

async fn post(client: &Proxy, body: &'static str) -> Response<Incoming> {
    let request = Request::post("/").header("host", "web.shop").body(Full::from(body)).unwrap();
    send(client.out().await, Version::HTTP_11, request).await.unwrap()
}

fn reason(response: &Response<Incoming>) -> &str {
    response.headers().get("l5d-proxy-error").map_or("", |reason| reason.to_str().unwrap())
}

fn timed(timeouts: Timeouts) -> OutboundPolicy {
    ruled(WEB, |rule| rule.timeouts = Some(timeouts))
}

#[tokio::test]
async fn a_request_that_takes_longer_than_it_may_is_answered_with_504() {
    let app = App::start(|_, _| silence()).await;
    for (timeouts, expected) in [
        (Timeouts { request: duration(SHORT), ..Timeouts::default() }, "request timeout"),
        (Timeouts { response: duration(SHORT), ..Timeouts::default() }, "response timeout"),
        (Timeouts { idle: duration(SHORT), ..Timeouts::default() }, "stream idle"),
    ] {
        let mesh = mesh(timed(timeouts), &[&app]).await;
        let client = client(&mesh).await;
        let began = Instant::now();
        let response = ask(&client, &[]).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(reason(&response).contains(expected), "{}", reason(&response));
        assert!(began.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn a_response_that_stalls_is_cut_off_and_one_that_moves_is_not() {
    // Long enough for a busy machine to move within it.
    const IDLE: Duration = Duration::from_secs(2);
    let app = App::start(|number, _| async move {
        // The first one sends a piece every fifth of the limit, the second one sends one and stops.
        let pieces = futures::stream::unfold(0, move |sent| async move {
            if sent > 0 {
                tokio::time::sleep(if number == 0 { IDLE / 5 } else { LIMIT }).await;
            }
            let frame = Ok(Frame::data(Bytes::from_static(b"piece")));
            (sent < 7).then_some((frame, sent + 1))
        });
        Response::new(StreamBody::new(pieces).boxed())
    });
    let app = app.await;
    let mesh = mesh(timed(Timeouts { idle: duration(IDLE), ..Timeouts::default() }), &[&app]).await;
    let client = client(&mesh).await;
    assert_eq!(text(ask(&client, &[]).await).await.len(), 35);
    let stalled = ask(&client, &[]).await;
    assert_eq!(stalled.status(), 200);
    let read = tokio::time::timeout(LIMIT / 2, stalled.into_body().collect()).await;
    assert!(read.expect("it is cut off").is_err());
}

/// Fails the first `failures` requests; tells the body of the one that it answers.
async fn failing_first(failures: usize) -> App {
    App::start(move |number, request: Request<Incoming>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if number < failures { answer(503, "") } else { answer(200, body) }
    })
    .await
}

fn retried(max: u32) -> OutboundPolicy {
    ruled(WEB, move |rule| rule.retry = Some(retries(max)))
}

#[tokio::test]
async fn failures_are_tried_again_with_their_bodies_as_often_as_the_policy_says() {
    let app = failing_first(2).await;
    let mesh = mesh(retried(2), &[&app]).await;
    let client = client(&mesh).await;
    let response = post(&client, "order").await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "order");
    assert_eq!(app.asked(), 3);
    client.until_metric("outbound_http_route_retry_requests_total", &["} 2"]).await;
    client.until_metric("outbound_http_route_retry_successes_total", &["} 1"]).await;
}

#[tokio::test]
async fn the_last_failure_is_what_the_client_gets() {
    let app = App::always(503).await;
    let mesh = mesh(retried(2), &[&app]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client, &[]).await.status(), 503);
    assert_eq!(app.asked(), 3);
    client.until_metric("outbound_http_route_retry_limit_exceeded_total", &["} 1"]).await;
    client.until_metric("outbound_http_route_request_statuses_total", &["http_status=\"503\"", "} 1"]).await;
    client
        .until_metric("outbound_http_route_backend_response_statuses_total", &["http_status=\"503\"", "} 3"])
        .await;
}

#[tokio::test]
async fn a_body_larger_than_the_policy_allows_is_sent_once() {
    let app = failing_first(1).await;
    let mesh = mesh(retried(2), &[&app]).await;
    let client = client(&mesh).await;
    let body: &'static str = Box::leak("x".repeat(65).into_boxed_str());
    assert_eq!(post(&client, body).await.status(), 503);
    assert_eq!(app.asked(), 1);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_for_the_next() {
    let app =
        App::start(|number, _| async move { if number == 0 { silence().await } else { answer(200, "") } });
    let app = app.await;
    let policy = ruled(WEB, |rule| {
        rule.retry = Some(http_route::Retry { timeout: duration(SHORT), ..retries(1) });
    });
    let mesh = mesh(policy, &[&app]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client, &[]).await.status(), 200);
    assert_eq!(app.asked(), 2);
}

#[tokio::test]
async fn retries_of_all_workers_stay_within_one_budget() {
    const REQUESTS: usize = 150;
    let app = App::always(503).await;
    let mesh = mesh(retried(5), &[&app]).await;
    let client = client_with(&mesh, &[("CORES", "3")]).await;
    let began = Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(ask(&client, &[]).await.status(), 503);
    }
    // A reserve of a hundred for each ten seconds, and a fifth of the requests; three budgets would allow three times that.
    let retries = app.asked() - REQUESTS;
    let most = 100.0 + 0.2 * REQUESTS as f64 + 10.0 * began.elapsed().as_secs_f64() + 20.0;
    assert!(retries >= 100 && retries as f64 <= most, "{retries} retries after {:?}", began.elapsed());
    client.until_metric("outbound_http_route_retry_overflow_total", &["parent_name"]).await;
}

fn grpc(trailers_only: bool, code: &'static str) -> Answer {
    let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())]);
    let mut response = if trailers_only {
        let mut response = answer(200, "");
        *response.headers_mut() = status;
        response
    } else {
        let frames = futures::stream::iter([Ok(Frame::trailers(status))]);
        Response::new(StreamBody::new(frames).boxed())
    };
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

#[tokio::test]
async fn grpc_failures_are_tried_again_by_their_code_in_headers_or_trailers() {
    use mesh_api::outbound::{GrpcRoute, ProxyProtocol, grpc_route, proxy_protocol};
    let app = App::start(|number, request: Request<Incoming>| async move {
        drop(request.into_body().collect().await);
        match number {
            0 => grpc(true, "14"),
            1 => grpc(false, "14"),
            _ => grpc(false, "0"),
        }
    });
    let app = app.await;
    // The HTTP route of a service, said again as a gRPC route.
    let http = ruled(WEB, |_| {});
    let Some(proxy_protocol::Kind::Detect(detect)) = http.protocol.and_then(|p| p.kind) else { panic!() };
    let Some(http_route::distribution::Kind::FirstAvailable(first)) =
        detect.http1.unwrap().routes.remove(0).rules.remove(0).backends.unwrap().kind
    else {
        panic!()
    };
    let backend = first.backends.into_iter().next().unwrap().backend;
    let backend = grpc_route::RouteBackend { backend, ..grpc_route::RouteBackend::default() };
    let first = grpc_route::distribution::FirstAvailable { backends: vec![backend] };
    let retry = grpc_route::Retry {
        max_retries: 2,
        max_request_bytes: 64,
        conditions: Some(grpc_route::retry::Conditions { unavailable: true, ..Default::default() }),
        timeout: None,
        backoff: retries(0).backoff,
    };
    let rule = grpc_route::Rule {
        backends: Some(grpc_route::Distribution {
            kind: Some(grpc_route::distribution::Kind::FirstAvailable(first)),
        }),
        retry: Some(retry),
        ..grpc_route::Rule::default()
    };
    let routes = vec![GrpcRoute { metadata: None, hosts: Vec::new(), rules: vec![rule] }];
    let kind = proxy_protocol::Kind::Grpc(proxy_protocol::Grpc { routes, failure_accrual: None });
    let policy = OutboundPolicy { protocol: Some(ProxyProtocol { kind: Some(kind) }), ..service(WEB) };
    let mesh = mesh(policy, &[&app]).await;
    let client = client(&mesh).await;
    let request = Request::post("/shop.Catalog/List").header("content-type", "application/grpc");
    let request = request.body(Full::from("list")).unwrap();
    let response = send(client.out().await, Version::HTTP_2, request).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(app.asked(), 3);
    client.until_metric("outbound_grpc_route_retry_successes_total", &["} 1"]).await;
    client.until_metric("outbound_grpc_route_request_statuses_total", &["grpc_status=\"0\"", "} 1"]).await;
}

#[tokio::test]
async fn a_request_sets_its_own_timeouts_and_retries_where_it_may_and_the_server_never_sees_them() {
    const FIELDS: &[(&str, &str)] =
        &[("l5d-retry-http", "503"), ("l5d-retry-limit", "2"), ("l5d-timeout", "20s")];
    for allowed in [true, false] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let app = App::start(move |number, request: Request<Incoming>| {
            count.fetch_add(
                request.headers().keys().filter(|k| k.as_str().starts_with("l5d-")).count(),
                SeqCst,
            );
            std::future::ready(answer(if number < 2 { 503 } else { 200 }, ""))
        });
        let app = app.await;
        let mesh = mesh(ruled(WEB, |rule| rule.allow_l5d_request_headers = allowed), &[&app]).await;
        let client = client(&mesh).await;
        assert_eq!(ask(&client, FIELDS).await.status(), if allowed { 200 } else { 503 });
        assert_eq!(app.asked(), if allowed { 3 } else { 1 });
        assert_eq!(seen.load(SeqCst), 0);
    }
    let app = App::start(|_, _| silence()).await;
    let mesh = mesh(ruled(WEB, |rule| rule.allow_l5d_request_headers = true), &[&app]).await;
    let client = client(&mesh).await;
    let response = ask(&client, &[("l5d-response-timeout", "100ms")]).await;
    assert_eq!(response.status(), 504);
}

/// An application that holds requests until told, and knows how many it ever held at once.
async fn holding() -> (App, tokio::sync::watch::Sender<bool>, Arc<AtomicUsize>) {
    let release = tokio::sync::watch::Sender::new(false);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (released, seen) = (release.clone(), Arc::clone(&most));
    let app = App::start(move |_, _| {
        let (mut released, now, most) = (released.subscribe(), Arc::clone(&now), Arc::clone(&seen));
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            released.wait_for(|released| *released).await.unwrap();
            now.fetch_sub(1, SeqCst);
            answer(200, "")
        }
    });
    (app.await, release, most)
}

#[tokio::test]
async fn an_endpoint_has_no_more_requests_than_it_may_and_the_others_wait() {
    let (app, release, most) = holding().await;
    let mesh = mesh(service(WEB), &[&app]).await;
    // Workers share the limit.
    let settings = [("ISTHMUS_OUTBOUND_MAX_IN_FLIGHT_PER_ENDPOINT", "2"), ("CORES", "2")];
    let client = Arc::new(client_with(&mesh, &settings).await);
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let client = Arc::clone(&client);
        held.spawn(async move { get(client.out().await, Version::HTTP_11, "/").await.status() });
    }
    client.until("held", || async { app.asked() == 2 }).await;
    let response = ask(&client, &[]).await;
    assert_eq!(response.status(), 503);
    assert!(reason(&response).contains("overloaded"), "{}", reason(&response));
    release.send_replace(true);
    assert!(held.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(ask(&client, &[]).await.status(), 200, "there is room again");
    assert_eq!(most.load(SeqCst), 2, "at once");
}

#[tokio::test]
async fn a_proxy_with_too_much_in_flight_refuses_more_at_once() {
    let (app, release, _) = holding().await;
    let mesh = mesh(service(WEB), &[&app]).await;
    let client = Arc::new(client_with(&mesh, &[("OUTBOUND_MAX_IN_FLIGHT", "2")]).await);
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let client = Arc::clone(&client);
        held.spawn(async move { get(client.out().await, Version::HTTP_11, "/").await.status() });
    }
    client.until("held", || async { app.asked() == 2 }).await;
    let response = ask(&client, &[]).await;
    assert_eq!(response.status(), 503);
    assert!(reason(&response).contains("in flight"), "{}", reason(&response));
    client.until_metric("outbound_http_errors_total", &["error=\"loadshed\""]).await;
    release.send_replace(true);
    assert!(held.join_all().await.into_iter().all(|status| status == 200));
    assert_eq!(ask(&client, &[]).await.status(), 200);
}

#[tokio::test]
async fn metrics_name_hosts_only_where_asked() {
    let app = App::always(200).await;
    for (wanted, settings) in [(true, &[("OUTBOUND_METRICS_HOSTNAME_LABELS", "true")][..]), (false, &[])] {
        let mesh = mesh(service(WEB), &[&app]).await;
        let client = client_with(&mesh, settings).await;
        assert_eq!(ask(&client, &[]).await.status(), 200);
        client.until_metric("outbound_http_route_request_statuses_total", &["http_status=\"200\""]).await;
        let (_, text) = client.admin("/metrics").await;
        assert_eq!(text.contains("hostname=\"web.shop\""), wanted);
    }
}

#[tokio::test]
async fn an_endpoint_that_goes_finishes_what_it_has_and_its_connections_are_closed() {
    let release = tokio::sync::watch::Sender::new(false);
    let released = release.clone();
    // Holds the first request alone: later ones may come before the change of endpoints arrives.
    let old = App::start(move |number, _| {
        let mut released = released.subscribe();
        async move {
            if number == 0 {
                released.wait_for(|released| *released).await.unwrap();
            }
            answer(200, "")
        }
    });
    let (old, new) = (old.await, App::always(200).await);
    let mesh = mesh(service(WEB), &[&old]).await;
    let client = Arc::new(client(&mesh).await);
    let asking = Arc::clone(&client);
    let held = tokio::spawn(async move { ask(&asking, &[]).await.status() });
    client.until("held", || async { old.asked() == 1 }).await;
    assert_eq!(ask(&client, &[]).await.status(), 200);
    assert_eq!(old.connections(), 2);
    mesh.destinations.set_endpoints(WEB, vec![endpoint(new.addr)]).await;
    client.until("moved", || async { ask(&client, &[]).await.status() == 200 && new.asked() > 0 }).await;
    client.until("closed what was at rest", || async { old.connections() == 1 }).await;
    release.send_replace(true);
    assert_eq!(held.await.unwrap(), 200);
    client.until("closed", || async { old.connections() == 0 }).await;
    client.until_metric("tcp_close_total", &["peer=\"dst\"", "errno=\"\""]).await;
}
