use super::*;
use crate::outbound::discovery::backends_for_tests as backends;
use mesh_api::http_route::{HttpFailureInjector, HttpRouteMatch, PathMatch, path_match};
use mesh_api::opaque_route::Forbidden;

fn backend(path: &str) -> api::http_route::RouteBackend {
    let dst = backend::endpoint_discovery::DestinationGet { path: path.to_owned() };
    let discovery = backend::EndpointDiscovery { kind: Some(backend::endpoint_discovery::Kind::Dst(dst)) };
    let balancer = backend::BalanceP2c { discovery: Some(discovery), load: None };
    let backend = api::Backend { kind: Some(backend::Kind::Balancer(balancer)), ..api::Backend::default() };
    api::http_route::RouteBackend { backend: Some(backend), ..api::http_route::RouteBackend::default() }
}

fn tiers(paths: &[&str]) -> api::http_route::Rule {
    use api::http_route::{Distribution, distribution};
    let first = distribution::FirstAvailable { backends: paths.iter().map(|p| backend(p)).collect() };
    let backends = Distribution { kind: Some(distribution::Kind::FirstAvailable(first)) };
    api::http_route::Rule { backends: Some(backends), ..api::http_route::Rule::default() }
}

fn http1(rules: Vec<api::http_route::Rule>, accrual: Option<api::FailureAccrual>) -> api::OutboundPolicy {
    let routes = vec![api::HttpRoute { rules, ..api::HttpRoute::default() }];
    let kind = Kind::Http1(api::proxy_protocol::Http1 { routes, failure_accrual: accrual });
    api::OutboundPolicy { protocol: Some(api::ProxyProtocol { kind: Some(kind) }), metadata: None }
}

fn rules(snapshot: &Snapshot) -> &[Rule<Arc<HttpRule>>] {
    match &snapshot.protocol {
        Protocol::Http1(http) => &http.routes[0].rules,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "local")]
async fn tiers_keep_their_order_and_carry_the_accrual() {
    let backoff = api::ExponentialBackoff {
        min_backoff: Some(mesh_api::convert::duration(Duration::from_secs(2))),
        max_backoff: Some(mesh_api::convert::duration(Duration::from_secs(9))),
        jitter_ratio: 0.5,
        respect_retry_after_hint: false,
    };
    let consecutive = failure_accrual::ConsecutiveFailures { max_failures: 7, backoff: Some(backoff) };
    let kind = Some(failure_accrual::Kind::ConsecutiveFailures(consecutive));
    let accrual = api::FailureAccrual { kind, ejection: None };
    let snapshot =
        policy(http1(vec![tiers(&["local.a:80", "west.a:80"])], Some(accrual)), &backends()).unwrap();
    let Distribution::First(tiers, _) = &rules(&snapshot)[0].value.backends else { panic!("tiers") };
    let names: Vec<_> = tiers.iter().map(|t| &*t.backend.name).collect();
    assert_eq!(names, ["local.a:80", "west.a:80"]);
    let accrual = tiers[0].backend.setup.accrual;
    assert_eq!((accrual.max_failures, accrual.backoff.min), (7, Duration::from_secs(2)));
}

#[tokio::test(flavor = "local")]
async fn a_rule_we_cannot_match_takes_no_requests_rather_than_all() {
    let regex = PathMatch { kind: Some(path_match::Kind::Regex("(".to_owned())) };
    let mut broken = tiers(&["a:80"]);
    broken.matches = vec![HttpRouteMatch { path: Some(regex), ..HttpRouteMatch::default() }];
    let snapshot = policy(http1(vec![broken], None), &backends()).unwrap();
    assert!(rules(&snapshot).is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_route_of_no_host_we_know_takes_no_requests_rather_than_all() {
    let unknown = mesh_api::http_route::HostMatch::default();
    let route = api::HttpRoute { hosts: vec![unknown], rules: vec![tiers(&["a:80"])], metadata: None };
    let kind = Kind::Http1(api::proxy_protocol::Http1 { routes: vec![route], failure_accrual: None });
    let message =
        api::OutboundPolicy { protocol: Some(api::ProxyProtocol { kind: Some(kind) }), metadata: None };
    match policy(message, &backends()).unwrap().protocol {
        Protocol::Http1(http) => assert!(http.routes.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "local")]
async fn a_filter_we_cannot_make_fails_requests_visibly() {
    use api::http_route::{Filter as ApiFilter, filter};
    let injector = HttpFailureInjector { status: 7, message: String::new(), ratio: None };
    let mut rule = tiers(&["a:80"]);
    rule.filters = vec![ApiFilter { kind: Some(filter::Kind::FailureInjector(injector)) }];
    let snapshot = policy(http1(vec![rule], None), &backends()).unwrap();
    let filters = &rules(&snapshot)[0].value.filters;
    assert!(matches!(&filters[..], [Filter::Fail { status, .. }] if status.as_u16() == 500));
}

#[tokio::test(flavor = "local")]
async fn a_policy_that_answers_403_to_everything_is_forbidden() {
    use api::http_route::{Filter as ApiFilter, filter};
    let injector = HttpFailureInjector { status: 403, message: "not exported".to_owned(), ratio: None };
    let mut rule = tiers(&["a:80"]);
    rule.filters = vec![ApiFilter { kind: Some(filter::Kind::FailureInjector(injector)) }];
    let snapshot = policy(http1(vec![rule.clone()], None), &backends()).unwrap();
    assert_eq!(snapshot.forbidden(), Some("not exported"));
    let partly = policy(http1(vec![rule, tiers(&["a:80"])], None), &backends()).unwrap();
    assert_eq!(partly.forbidden(), None);
    assert_eq!(policy(http1(vec![], None), &backends()).unwrap().forbidden(), None);
}

#[tokio::test(flavor = "local")]
async fn a_forbidden_opaque_route_refuses_connections() {
    use api::opaque_route::{Filter as ApiFilter, Rule as ApiRule, filter};
    let filters = vec![ApiFilter { kind: Some(filter::Kind::Forbidden(Forbidden {})) }];
    let route = api::OpaqueRoute {
        metadata: Some(mesh_api::convert::default_metadata("undefined-port")),
        rules: vec![ApiRule { filters, backends: None }],
    };
    let kind = Kind::Opaque(api::proxy_protocol::Opaque { routes: vec![route] });
    let message =
        api::OutboundPolicy { protocol: Some(api::ProxyProtocol { kind: Some(kind) }), metadata: None };
    assert_eq!(policy(message, &backends()).unwrap().forbidden(), Some("undefined-port"));
}

#[tokio::test(flavor = "local")]
async fn a_policy_without_a_protocol_is_an_error() {
    assert!(policy(api::OutboundPolicy::default(), &backends()).is_err());
}

#[tokio::test(flavor = "local")]
async fn profiles_name_a_service_an_endpoint_or_nothing() {
    let backends = backends();
    let service = DestinationProfile {
        fully_qualified_name: "web.shop.svc.cluster.local".to_owned(),
        ..Default::default()
    };
    let name = |snapshot: &Snapshot| match &snapshot.protocol {
        Protocol::Opaque(opaque) | Protocol::Detect { opaque, .. } => match &opaque.backends {
            Distribution::First(tiers, _) => tiers[0].backend.name.to_string(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let snapshot = profile_policy(&service, 8080, &backends).unwrap();
    assert_eq!(name(&snapshot), "web.shop.svc.cluster.local:8080");
    let addr: std::net::SocketAddr = "10.42.0.7:8080".parse().unwrap();
    let endpoint = WeightedAddr { addr: Some(addr.into()), ..WeightedAddr::default() };
    let pod = DestinationProfile { endpoint: Some(endpoint), opaque_protocol: true, ..Default::default() };
    let snapshot = profile_policy(&pod, 8080, &backends).unwrap();
    assert!(matches!(snapshot.protocol, Protocol::Opaque(_)));
    assert_eq!(name(&snapshot), "10.42.0.7:8080");
    assert!(profile_policy(&DestinationProfile::default(), 80, &backends).is_none());
}

proptest::proptest! {
    #[test]
    fn no_policy_however_damaged_makes_us_panic(at in 0usize..2000, to in proptest::prelude::any::<u8>(), cut in 0usize..2000) {
        use mesh_api::prost::Message;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        for seed in [
            &include_bytes!("../../../../../fuzz/seeds/policy/outbound-detect")[..],
            include_bytes!("../../../../../fuzz/seeds/policy/outbound-http2"),
            include_bytes!("../../../../../fuzz/seeds/policy/outbound-grpc"),
            include_bytes!("../../../../../fuzz/seeds/policy/outbound-tls"),
        ] {
            let mut bytes = seed.to_vec();
            let len = bytes.len();
            bytes[at % len] = to;
            // Most damage leaves a message; half of it is cut as well.
            bytes.truncate(if cut % 2 == 0 { len } else { cut % len });
            if let Ok(message) = api::OutboundPolicy::decode(&bytes[..]) {
                let _ = policy(message, &backends());
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn unified_accrual_keeps_its_share_window_and_hint() {
    let seconds = |n| Some(mesh_api::convert::duration(Duration::from_secs(n)));
    let backoff = api::ExponentialBackoff {
        min_backoff: seconds(1),
        max_backoff: seconds(60),
        jitter_ratio: 0.5,
        respect_retry_after_hint: true,
    };
    let unified = |threshold| failure_accrual::Unified {
        success_rate_threshold: threshold,
        decay: seconds(20),
        min_requests: 8,
        max_consecutive_failures: 3,
        backoff: Some(backoff),
    };
    let accrual = |threshold| {
        let kind = Some(failure_accrual::Kind::Unified(unified(threshold)));
        let ejection = Some(api::EjectionConfig { min_ready_endpoints: 2 });
        accrual_config(Some(&api::FailureAccrual { kind, ejection }))
    };
    let (config, min_ready) = accrual(0.9);
    let window = Duration::from_secs(20);
    assert_eq!(config.success_rate, Some(SuccessRate { threshold: 0.9, window, min_requests: 8 }));
    assert_eq!((config.max_failures, config.honor_retry_after, min_ready), (3, true, 2));
    assert_eq!(accrual(0.0).0.success_rate, None, "zero switches it off");
}

#[tokio::test(flavor = "local")]
async fn penalties_are_part_of_the_load_estimate() {
    use backend::balance_p2c::{Load, PenaltyPeakEwma};
    let seconds = |n| Some(mesh_api::convert::duration(Duration::from_secs(n)));
    let said = PenaltyPeakEwma { penalty: seconds(2), max_retry_after: seconds(60), ..Default::default() };
    let config = ewma_config(Some(Load::PenaltyPeakEwma(said)));
    let penalty = config.penalty.unwrap();
    assert_eq!((penalty.amount, penalty.max_retry_after), (Duration::from_secs(2), Duration::from_secs(60)));
    assert_eq!(penalty.decay, config.decay, "where nothing is said, as latency is forgotten");
    assert_eq!(ewma_config(None), EwmaConfig::default());
}

#[tokio::test(flavor = "local")]
async fn a_rule_carries_its_timeouts_retries_and_whether_requests_may_say_otherwise() {
    use api::http_route::retry::conditions::StatusRange;
    let millis = |n| Some(mesh_api::convert::duration(Duration::from_millis(n)));
    let mut rule = tiers(&["a:80"]);
    rule.allow_l5d_request_headers = true;
    rule.timeouts = Some(mesh_api::http_route::Timeouts {
        request: millis(300),
        response: millis(200),
        idle: millis(100),
    });
    rule.retry = Some(api::http_route::Retry {
        max_retries: 4,
        max_request_bytes: 10,
        conditions: Some(api::http_route::retry::Conditions {
            status_ranges: vec![StatusRange { start: 500, end: 599 }],
        }),
        timeout: millis(50),
        backoff: None,
    });
    let snapshot = policy(http1(vec![rule], None), &backends()).unwrap();
    let rule = &rules(&snapshot)[0].value;
    assert!(rule.allow_overrides && !rule.grpc);
    let timeouts = rule.terms.timeouts;
    let told = [timeouts.request, timeouts.response, timeouts.idle].map(|limit| limit.unwrap().as_millis());
    assert_eq!(told, [300, 200, 100]);
    let retry = rule.terms.retry.as_ref().unwrap();
    assert_eq!((retry.max, retry.max_bytes, retry.timeout), (4, 10, Some(Duration::from_millis(50))));
    assert_eq!(retry.statuses, [500..=599]);
}
