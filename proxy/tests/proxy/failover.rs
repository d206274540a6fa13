//! The outbound side when endpoints fail: tiers, ejection, trials, waiting, requests sent again.

use crate::app;
use crate::destinations::{endpoint, service, tiers};
use crate::harness::{LIMIT, Mesh, Proxy, Setup, get, send, text};
use crate::outbound::{VIRTUAL, WEB, client, through};
use http::{Request, Version};
use http_body_util::Full;
use hyper::body::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// An application that answers with its name.
pub(crate) async fn named(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, serve_named(listener, name))
}

pub(crate) fn serve_named(listener: TcpListener, name: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = hyper::service::service_fn(move |_| async move {
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from_static(
                    name.as_bytes(),
                ))))
            });
            open.spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
            });
        }
    })
}

pub(crate) async fn ask(client: &Proxy) -> String {
    let response = get(client.out().await, Version::HTTP_11, "/").await;
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    text(response).await
}

#[tokio::test]
async fn the_next_tier_serves_while_the_first_is_dead_and_the_first_again_after_five_seconds() {
    let (east_path, west_path) = ("local.catalog:80", "west.catalog:80");
    let mesh = Mesh::new().await;
    let (east, serving) = named("east").await;
    let (west, _west) = named("west").await;
    mesh.destinations.set_policy(VIRTUAL, tiers(&[east_path, west_path])).await;
    mesh.destinations.set_endpoints(east_path, vec![endpoint(east)]).await;
    mesh.destinations.set_endpoints(west_path, vec![endpoint(west)]).await;
    let client = client(&mesh).await;
    for _ in 0..10 {
        assert_eq!(ask(&client).await, "east");
    }
    // Dead, though discovery still lists it: not one request fails.
    serving.abort();
    let _ = serving.await;
    for _ in 0..20 {
        assert_eq!(ask(&client).await, "west");
    }
    let back = Instant::now();
    let _east = serve_named(TcpListener::bind(east).await.unwrap(), "east");
    let (mut probes, mut asked) = (0, 0);
    let returned = async {
        let mut in_a_row = 0;
        while in_a_row < 3 {
            asked += 1;
            match ask(&client).await.as_str() {
                "east" => (probes, in_a_row) = (probes + 1, in_a_row + 1),
                _ => in_a_row = 0,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, returned).await.expect("east never came back");
    assert!(back.elapsed() >= Duration::from_secs(5), "back after {:?}", back.elapsed());
    assert!((probes - 3) * 100 <= asked, "{probes} of {asked} requests probed east");
}

#[tokio::test]
async fn a_tier_whose_endpoints_are_gone_is_left_at_once_and_all_requests_succeed() {
    let (east_path, west_path) = ("local.catalog:80", "west.catalog:80");
    let mesh = Mesh::new().await;
    let (east, _east) = named("east").await;
    let (west, _west) = named("west").await;
    mesh.destinations.set_policy(VIRTUAL, tiers(&[east_path, west_path])).await;
    mesh.destinations.set_endpoints(east_path, vec![endpoint(east)]).await;
    mesh.destinations.set_endpoints(west_path, vec![endpoint(west)]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client).await, "east");
    mesh.destinations.set_endpoints(east_path, vec![]).await;
    let shifted = async { while ask(&client).await != "west" {} };
    tokio::time::timeout(LIMIT, shifted).await.expect("east is still asked");
}

#[tokio::test]
async fn requests_that_reached_no_application_are_sent_to_the_next_tier_with_their_bodies() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // Its proxy lives and says that the application does not.
    let server = mesh.proxy(Setup { app: dead, ..Setup::default() }).await;
    let app = app::http().await;
    mesh.destinations.set_policy(VIRTUAL, tiers(&[near, far])).await;
    mesh.destinations.set_endpoints(near, vec![through(&server, dead)]).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(app)]).await;
    let client = client(&mesh).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::post("/echo").header("host", "catalog").body(Full::from("order")).unwrap();
        let response = send(client.out().await, version, request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("isthmus-retry-safe"));
        assert_eq!(text(response).await, "order");
    }
}

/// Refuses every stream, as a server does that has begun to stop.
async fn refusing_streams() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn refused_streams_are_sent_to_another_endpoint_whatever_the_method() {
    let mesh = Mesh::new().await;
    let app = app::http().await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(refusing_streams().await), endpoint(app)]).await;
    let client = client(&mesh).await;
    for _ in 0..20 {
        let request = Request::post("/echo").header("host", "catalog").body(Full::from("order")).unwrap();
        let response = send(client.out().await, Version::HTTP_2, request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "order");
    }
    client.until_metric("outbound_http_balancer_endpoints", &["endpoint_state=\"ready\"", WEB, "} 2"]).await;
}

#[tokio::test]
async fn an_application_cannot_say_that_it_did_not_get_a_request() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let lying = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = hyper::service::service_fn(|_| async {
                let refused = http::Response::builder().status(503).header("isthmus-retry-safe", "true");
                Ok::<_, std::convert::Infallible>(refused.body(Full::<Bytes>::default()).unwrap())
            });
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
            });
        }
    });
    let server = mesh.proxy(Setup { app: lying, ..Setup::default() }).await;
    let (app, _far) = named("far").await;
    mesh.destinations.set_policy(VIRTUAL, tiers(&[near, far])).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(app)]).await;
    let client = client(&mesh).await;
    for near_endpoint in [endpoint(lying), through(&server, lying)] {
        mesh.destinations.set_endpoints(near, vec![near_endpoint]).await;
        let response = get(client.out().await, Version::HTTP_11, "/").await;
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key("isthmus-retry-safe"));
    }
}

/// The policy with ejection after three failures in a row.
fn with_accrual(mut policy: mesh_api::outbound::OutboundPolicy) -> mesh_api::outbound::OutboundPolicy {
    use mesh_api::outbound::{ExponentialBackoff, FailureAccrual, failure_accrual, proxy_protocol::Kind};
    let backoff = ExponentialBackoff {
        // Long enough for many requests on a busy machine.
        min_backoff: Some(Duration::from_secs(3).try_into().unwrap()),
        max_backoff: Some(Duration::from_secs(6).try_into().unwrap()),
        jitter_ratio: 0.0,
        respect_retry_after_hint: false,
    };
    let consecutive = failure_accrual::ConsecutiveFailures { max_failures: 3, backoff: Some(backoff) };
    let accrual = FailureAccrual {
        ejection: None,
        kind: Some(failure_accrual::Kind::ConsecutiveFailures(consecutive)),
    };
    if let Some(Kind::Detect(detect)) = policy.protocol.as_mut().and_then(|p| p.kind.as_mut()) {
        detect.http1.as_mut().unwrap().failure_accrual = Some(accrual);
        detect.http2.as_mut().unwrap().failure_accrual = Some(accrual);
    }
    policy
}

/// An application that fails every request until told otherwise, and counts them.
async fn failing() -> (SocketAddr, Arc<std::sync::atomic::AtomicBool>, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (works, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let state = (Arc::clone(&works), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (works, asked) = state.clone();
            let answer = hyper::service::service_fn(move |_| {
                asked.fetch_add(1, Relaxed);
                let status = if works.load(Relaxed) { 200 } else { 500 };
                let response = http::Response::builder().status(status).body(Full::<Bytes>::from("failing"));
                std::future::ready(Ok::<_, std::convert::Infallible>(response.unwrap()))
            });
            tokio::spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
            });
        }
    });
    (addr, works, asked)
}

#[tokio::test]
async fn an_endpoint_that_fails_in_a_row_is_ejected_and_comes_back_after_a_trial() {
    let mesh = Mesh::new().await;
    let (bad, works, asked) = failing().await;
    let (good, _good) = named("good").await;
    mesh.destinations.set_policy(VIRTUAL, with_accrual(service(WEB))).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(bad), endpoint(good)]).await;
    let client = client(&mesh).await;
    let ejected = async {
        while asked.load(Relaxed) < 3 {
            get(client.out().await, Version::HTTP_11, "/").await;
        }
    };
    tokio::time::timeout(LIMIT, ejected).await.expect("the failing endpoint is asked");
    let before = asked.load(Relaxed);
    for _ in 0..20 {
        assert_eq!(ask(&client).await, "good");
    }
    assert_eq!(asked.load(Relaxed), before, "nothing is sent to it while it is ejected");
    works.store(true, Relaxed);
    let back = async { while ask(&client).await != "failing" {} };
    tokio::time::timeout(LIMIT, back).await.expect("it comes back");
}

#[tokio::test]
async fn a_tier_of_which_all_endpoints_are_ejected_gives_way_to_the_next() {
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let (bad, ..) = failing().await;
    let (good, _good) = named("far").await;
    mesh.destinations.set_policy(VIRTUAL, with_accrual(tiers(&[near, far]))).await;
    mesh.destinations.set_endpoints(near, vec![endpoint(bad)]).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(good)]).await;
    let client = client(&mesh).await;
    for _ in 0..3 {
        assert_eq!(get(client.out().await, Version::HTTP_11, "/").await.status(), 500);
    }
    let mut failed = 0;
    for _ in 0..150 {
        if get(client.out().await, Version::HTTP_11, "/").await.status() != 200 {
            failed += 1;
        }
    }
    assert!(failed <= 1, "{failed} of 150 requests were spent on the dead tier");
}

#[tokio::test]
async fn discovery_outlives_its_control_plane_answers_and_follows_changes() {
    let mesh = Mesh::new().await;
    let (first, _first) = named("first").await;
    let (second, _second) = named("second").await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(first)]).await;
    let client = client(&mesh).await;
    assert_eq!(ask(&client).await, "first");
    mesh.destinations.set_endpoints(WEB, vec![endpoint(second)]).await;
    let moved = async { while ask(&client).await != "second" {} };
    tokio::time::timeout(LIMIT, moved).await.expect("the change arrives");
}

/// An application that takes a few milliseconds for each answer, its name.
fn serve_slowly(listener: TcpListener, name: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = hyper::service::service_fn(move |_| async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let body = Full::new(Bytes::from_static(name.as_bytes()));
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            });
            open.spawn(async move {
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
            });
        }
    })
}

#[tokio::test]
async fn under_load_a_killed_tier_costs_no_request_but_those_in_flight() {
    const RATE: u64 = 500;
    let (near, far) = ("near.catalog:80", "far.catalog:80");
    let mesh = Mesh::new().await;
    let listeners =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [near_addr, far_addr] = [listeners[0].local_addr().unwrap(), listeners[1].local_addr().unwrap()];
    let [near_listener, far_listener] = listeners;
    let near_app = serve_slowly(near_listener, "near");
    let _far_app = serve_slowly(far_listener, "far");
    mesh.destinations.set_policy(VIRTUAL, with_accrual(tiers(&[near, far]))).await;
    mesh.destinations.set_endpoints(near, vec![endpoint(near_addr)]).await;
    mesh.destinations.set_endpoints(far, vec![endpoint(far_addr)]).await;
    let client = Arc::new(client(&mesh).await);
    let mut requests = tokio::task::JoinSet::new();
    let answered = Arc::new(AtomicU64::new(0));
    let mut in_flight = 0;
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    let mut near_app = Some(near_app);
    for n in 0..RATE * 2 {
        tick.tick().await;
        if n == RATE
            && let Some(app) = near_app.take()
        {
            in_flight = n - answered.load(Relaxed);
            app.abort();
        }
        let (client, answered) = (Arc::clone(&client), Arc::clone(&answered));
        requests.spawn(async move {
            let response = get(client.out().await, Version::HTTP_11, "/").await;
            let answer = (n, response.status().as_u16(), text(response).await);
            answered.fetch_add(1, Relaxed);
            answer
        });
    }
    let answers = requests.join_all().await;
    let failed: Vec<_> = answers.iter().filter(|(_, status, _)| *status != 200).collect();
    // A few more may have been sent on connections that the client did not yet know to be closed.
    let at_most = in_flight + 10;
    assert!(
        failed.len() as u64 <= at_most,
        "{} failed, {in_flight} were in flight: {failed:?}",
        failed.len()
    );
    assert!(failed.iter().all(|(n, ..)| *n < RATE + 20), "{failed:?}");
    let shifted = answers.iter().filter(|(n, _, body)| *n > RATE + 50 && body == "far").count() as u64;
    assert!(shifted >= RATE - 51 - 10, "{shifted} requests went to the next tier");
}
