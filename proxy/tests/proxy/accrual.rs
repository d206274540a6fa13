//! Failure accrual and the choice between backends, as the outbound API describes them.

use crate::app::bind;
use crate::destinations::{endpoint, service, tiers};
use crate::harness::{LIMIT, Mesh, Proxy, get};
use crate::outbound::{VIRTUAL, WEB, client, client_with};
use crate::peers::frame;
use crate::scripted::{App, accruing, answer, backoff, duration};
use http::Version;
use mesh_api::outbound::failure_accrual::{ConsecutiveFailures, Kind, Unified};
use mesh_api::outbound::proxy_protocol;
use mesh_api::outbound::{EjectionConfig, ExponentialBackoff, OutboundPolicy, http_route};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SECOND: Duration = Duration::from_secs(1);

async fn mesh(policy: OutboundPolicy, apps: &[&App]) -> Arc<Mesh> {
    let mesh = Mesh::new().await;
    mesh.destinations.set_policy(VIRTUAL, policy).await;
    mesh.destinations.set_endpoints(WEB, apps.iter().map(|app| endpoint(app.addr)).collect()).await;
    mesh
}

async fn status(client: &Proxy) -> u16 {
    get(client.out().await, Version::HTTP_11, "/").await.status().as_u16()
}

pub(crate) fn consecutive(max_failures: u32, backoff: ExponentialBackoff) -> Kind {
    Kind::ConsecutiveFailures(ConsecutiveFailures { max_failures, backoff: Some(backoff) })
}

#[tokio::test]
async fn an_endpoint_with_too_small_a_share_of_successes_is_ejected_by_all_workers_together() {
    // Two of three requests succeed: never two failures in a row, and a share of two thirds.
    let flaky =
        App::start(|number, _| std::future::ready(answer(if number % 3 == 2 { 500 } else { 200 }, "")));
    let (flaky, good) = (flaky.await, App::always(200).await);
    let unified = Unified {
        success_rate_threshold: 0.9,
        decay: duration(60 * SECOND),
        min_requests: 6,
        max_consecutive_failures: 100,
        backoff: Some(backoff(60 * SECOND, 60 * SECOND)),
    };
    let mesh = mesh(accruing(service(WEB), Kind::Unified(unified), None), &[&flaky, &good]).await;
    let client = client_with(&mesh, &[("CORES", "2")]).await;
    let ejected = client.until_metric("isthmus_outbound_ejections_total", &["cause=\"success_rate\"", "} 1"]);
    let asking = async { while status(&client).await > 0 {} };
    tokio::select! {
        () = ejected => {}
        () = asking => {}
    }
    let asked = flaky.asked();
    // With thresholds of each worker's own it would be at least six requests for each.
    assert!(asked <= 9, "{asked} requests before it was ejected");
    for _ in 0..30 {
        assert_eq!(status(&client).await, 200);
    }
    assert!(flaky.asked() <= asked + 1, "nothing is sent to it but what was under way");
    client.until_metric("isthmus_outbound_http_endpoints_ejected", &[WEB, "} 1"]).await;
}

#[tokio::test]
async fn retry_after_makes_an_ejection_longer_where_it_is_honoured() {
    for honored in [true, false] {
        let app = App::start(|_, _| {
            let mut response = answer(503, "");
            response.headers_mut().insert("retry-after", "30".parse().unwrap());
            std::future::ready(response)
        });
        let app = app.await;
        let pause = ExponentialBackoff {
            respect_retry_after_hint: honored,
            ..backoff(Duration::from_millis(50), 60 * SECOND)
        };
        let mesh = mesh(accruing(service(WEB), consecutive(1, pause), None), &[&app]).await;
        let client = client(&mesh).await;
        assert_eq!(status(&client).await, 503);
        let began = Instant::now();
        // Without the hint a trial follows soon; the doubling pauses allow a second one well within the limit.
        let again = async {
            while app.asked() < 2 {
                status(&client).await;
            }
        };
        let limit = if honored { 3 * SECOND } else { LIMIT };
        let tried = tokio::time::timeout(limit, again).await.is_ok();
        assert_eq!(tried, !honored, "after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn as_many_endpoints_as_the_policy_wants_stay_in_use_though_all_fail() {
    let apps = [App::always(500).await, App::always(500).await];
    let floor = Some(EjectionConfig { min_ready_endpoints: 1 });
    let pause = backoff(60 * SECOND, 60 * SECOND);
    let mesh = mesh(accruing(service(WEB), consecutive(3, pause), floor), &[&apps[0], &apps[1]]).await;
    let client = client(&mesh).await;
    for _ in 0..40 {
        assert_eq!(status(&client).await, 500, "an endpoint answers, not the proxy");
    }
    let mut asked = apps.map(|app| app.asked());
    asked.sort_unstable();
    assert_eq!((asked[0], asked.iter().sum::<usize>()), (3, 40), "one of them was ejected");
}

#[tokio::test]
async fn an_endpoint_that_hangs_until_the_timeout_has_failed() {
    let hung = App::start(|_, _| crate::scripted::silence()).await;
    let good = App::always(200).await;
    let pause = backoff(60 * SECOND, 60 * SECOND);
    let timeouts = mesh_api::http_route::Timeouts {
        request: duration(Duration::from_millis(100)),
        ..Default::default()
    };
    let policy = crate::scripted::ruled(WEB, |rule| rule.timeouts = Some(timeouts));
    let mesh = mesh(accruing(policy, consecutive(2, pause), None), &[&hung, &good]).await;
    let client = client(&mesh).await;
    let ejected = async {
        while hung.asked() < 2 {
            status(&client).await;
        }
    };
    tokio::time::timeout(LIMIT, ejected).await.expect("it is asked twice");
    client.until_metric("isthmus_outbound_ejections_total", &["cause=\"consecutive\"", "} 1"]).await;
    for _ in 0..20 {
        assert_eq!(status(&client).await, 200);
    }
    assert_eq!(hung.asked(), 2);
}

#[tokio::test]
async fn requests_are_spread_over_backends_by_their_weights() {
    let (few, many, none) = ("few.shop:80", "many.shop:80", "none.shop:80");
    let apps = [App::always(200).await, App::always(200).await];
    let mesh = Mesh::new().await;
    // The tiers of the policy, as a choice at random.
    let mut policy = tiers(&[few, many, none]);
    let Some(proxy_protocol::Kind::Detect(detect)) = policy.protocol.as_mut().and_then(|p| p.kind.as_mut())
    else {
        panic!()
    };
    let rule = &mut detect.http1.as_mut().unwrap().routes[0].rules[0];
    let Some(http_route::distribution::Kind::FirstAvailable(first)) = rule.backends.take().unwrap().kind
    else {
        panic!()
    };
    let weighted = first
        .backends
        .into_iter()
        .zip([1, 4, 5])
        .map(|(backend, weight)| http_route::WeightedRouteBackend { backend: Some(backend), weight });
    let random = http_route::distribution::RandomAvailable { backends: weighted.collect() };
    rule.backends = Some(http_route::Distribution {
        kind: Some(http_route::distribution::Kind::RandomAvailable(random)),
    });
    mesh.destinations.set_policy(VIRTUAL, policy).await;
    mesh.destinations.set_endpoints(few, vec![endpoint(apps[0].addr)]).await;
    mesh.destinations.set_endpoints(many, vec![endpoint(apps[1].addr)]).await;
    mesh.destinations.set_endpoints(none, vec![]).await;
    let client = client(&mesh).await;
    for _ in 0..300 {
        assert_eq!(status(&client).await, 200, "a backend without endpoints is passed over");
    }
    // What falls to the backend without endpoints goes to the others as one to four.
    let share = apps[1].asked() as f64 / 300.0;
    assert!((0.68..0.92).contains(&share), "{share} of the requests went to the second backend");
}

/// Answers the first request on every HTTP/2 connection with a field that HTTP/2 does not have.
async fn malformed() -> SocketAddr {
    let (listener, addr) = bind().await;
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let serving = async move {
                io.write_all(&frame(4, 0, 0, &[])).await?;
                let mut head = vec![0x88, 0, 10];
                head.extend(b"connection");
                head.push(5);
                head.extend(b"close");
                // The preface; then frames.
                io.read_exact(&mut [0; 24]).await?;
                loop {
                    let mut at = [0; 9];
                    io.read_exact(&mut at).await?;
                    let len = usize::from(at[0]) << 16 | usize::from(at[1]) << 8 | usize::from(at[2]);
                    io.read_exact(&mut vec![0; len]).await?;
                    if at[3] == 1 {
                        let stream = u32::from_be_bytes([at[5], at[6], at[7], at[8]]);
                        io.write_all(&frame(1, 0x4 | 0x1, stream, &head)).await?;
                    }
                }
            };
            tokio::spawn(async move {
                let Err::<Infallible, std::io::Error>(_closed) = serving.await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn an_endpoint_whose_answers_are_malformed_is_ejected() {
    let mesh = Mesh::new().await;
    let pause = backoff(60 * SECOND, 60 * SECOND);
    mesh.destinations.set_policy(VIRTUAL, accruing(service(WEB), consecutive(1, pause), None)).await;
    mesh.destinations.set_endpoints(WEB, vec![endpoint(malformed().await)]).await;
    let client = client(&mesh).await;
    let answer = get(client.out().await, Version::HTTP_2, "/").await;
    assert_eq!(answer.status(), 502);
    client.until_metric("isthmus_outbound_ejections_total", &["cause=\"consecutive\"", "} 1"]).await;
}

/// The policy of a service whose latencies are forgotten at once, so that only the rest of what is known decides.
fn forgetful() -> OutboundPolicy {
    use mesh_api::outbound::backend::{Kind as BackendKind, balance_p2c::Load};
    crate::scripted::ruled(WEB, |rule| {
        let Some(http_route::distribution::Kind::FirstAvailable(first)) =
            rule.backends.as_mut().and_then(|backends| backends.kind.as_mut())
        else {
            panic!()
        };
        for backend in first.backends.iter_mut().filter_map(|b| b.backend.as_mut()) {
            let Some(BackendKind::Balancer(balancer)) = &mut backend.kind else { panic!() };
            let Some(Load::PeakEwma(load)) = &mut balancer.load else { panic!() };
            load.decay = duration(Duration::from_millis(1));
        }
    })
}

#[tokio::test]
async fn a_newcomer_gets_its_share_only_after_a_while() {
    let apps = [App::always(200).await, App::always(200).await];
    for (slow_start, newcomers_share) in [("60s", 0.0..0.25), ("0s", 0.25..0.75)] {
        let mesh = mesh(forgetful(), &[&apps[0]]).await;
        let client = client_with(&mesh, &[("ISTHMUS_OUTBOUND_SLOW_START", slow_start)]).await;
        assert_eq!(status(&client).await, 200);
        let before = [apps[0].asked(), apps[1].asked()];
        let both = apps.iter().map(|app| endpoint(app.addr)).collect();
        mesh.destinations.set_endpoints(WEB, both).await;
        client.until_metric("outbound_http_balancer_p2c_endpoints", &["} 2"]).await;
        for _ in 0..100 {
            status(&client).await;
            // Time for latencies to be forgotten.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let new = (apps[1].asked() - before[1]) as f64;
        let share = new / (new + (apps[0].asked() - before[0]) as f64);
        assert!(newcomers_share.contains(&share), "{share} with {slow_start}");
    }
}
