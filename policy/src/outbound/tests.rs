use crate::fixtures::{index, service, slice};
use crate::index::{Destination, Index};
use crate::model::Key;
use mesh_api::meta::metadata;
use mesh_api::outbound::proxy_protocol::Kind;
use mesh_api::outbound::{Backend, HttpRoute, OutboundPolicy, backend, http_route, opaque_route};
use serde_json::{Value, json};

fn web(labels: Value, notes: Value, port: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": labels, "annotations": notes},
        "spec": {"clusterIPs": ["10.43.0.7"], "ports": [port]}
    })
}

fn http_port() -> Value {
    json!({"name": "http", "port": 80})
}

fn federated(spec: Value, notes: Value) -> Index {
    let mut index = index();
    let mut object = json!({
        "metadata": {
            "name": "web-federated", "namespace": "shop",
            "labels": {"mirror.linkerd.io/federated-service": "true", "mirror.linkerd.io/mirrored-service": "true"},
            "annotations": {"multicluster.linkerd.io/local-discovery": "web"}
        },
        "spec": {"clusterIPs": ["10.43.0.9"], "ports": [http_port()]}
    });
    for (key, value) in spec.as_object().expect("an object") {
        object["spec"][key] = value.clone();
    }
    for (key, value) in notes.as_object().expect("an object") {
        object["metadata"]["annotations"][key] = value.clone();
    }
    service(&mut index, object);
    for cluster in ["east", "north", "west"] {
        slice(
            &mut index,
            json!({
                "metadata": {
                    "name": format!("web-federated-{cluster}"), "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": "web-federated", "mirror.linkerd.io/cluster-name": cluster}
                },
                "addressType": "IPv4", "endpoints": [], "ports": []
            }),
        );
    }
    index
}

fn by_name(index: &Index, name: &str, port: u16, gateway: bool) -> Option<OutboundPolicy> {
    let service = Key::new("shop", name);
    index.outbound(&Destination::Name { service, port, part: None }, gateway)
}

fn detect(policy: &OutboundPolicy) -> (&HttpRoute, &mesh_api::outbound::OpaqueRoute) {
    match policy.protocol.as_ref().and_then(|p| p.kind.as_ref()) {
        Some(Kind::Detect(detect)) => {
            let http = &detect.http1.as_ref().expect("http/1").routes[0];
            (http, &detect.opaque.as_ref().expect("opaque").routes[0])
        }
        other => panic!("not detected: {other:?}"),
    }
}

fn http_backends(route: &HttpRoute) -> Vec<&Backend> {
    match route.rules[0].backends.as_ref().and_then(|d| d.kind.as_ref()) {
        Some(http_route::distribution::Kind::FirstAvailable(first)) => {
            first.backends.iter().map(|b| b.backend.as_ref().expect("a backend")).collect()
        }
        _ => Vec::new(),
    }
}

fn path(backend: &Backend) -> String {
    use backend::endpoint_discovery::Kind::Dst;
    let Some(backend::Kind::Balancer(balancer)) = &backend.kind else { panic!("a balancer") };
    match balancer.discovery.as_ref().and_then(|d| d.kind.as_ref()) {
        Some(Dst(get)) => get.path.clone(),
        None => panic!("no discovery"),
    }
}

fn refused(policy: &OutboundPolicy) -> Option<String> {
    let (http, opaque) = detect(policy);
    let filter = http.rules[0].filters.first()?;
    let Some(http_route::filter::Kind::FailureInjector(failure)) = &filter.kind else { return None };
    let forbidden = matches!(
        opaque.rules[0].filters.first().and_then(|f| f.kind.as_ref()),
        Some(opaque_route::filter::Kind::Forbidden(_))
    );
    assert!(forbidden && failure.status == 403);
    Some(failure.message.clone())
}

#[test]
fn a_plain_service_is_detected_and_balanced_over_its_endpoints() {
    let mut index = index();
    service(&mut index, web(json!({}), json!({}), http_port()));
    let policy = index.outbound(&Destination::Addr("10.43.0.7:80".parse().expect("an address")), false);
    let policy = policy.expect("a policy");
    let (http, _) = detect(&policy);
    let backends = http_backends(http);
    assert_eq!(backends.len(), 1);
    assert_eq!(path(backends[0]), "web.shop.svc.cluster.local:80");
    assert_eq!(Some(policy), by_name(&index, "web", 80, false), "by name as by address");
}

#[test]
fn unknown_addresses_and_names_have_no_policy() {
    let index = index();
    assert!(index.outbound(&Destination::Addr("10.43.0.7:80".parse().expect("an address")), false).is_none());
    assert!(by_name(&index, "web", 80, false).is_none());
}

#[test]
fn a_port_that_the_service_lacks_is_refused_with_its_number() {
    let mut index = index();
    service(&mut index, web(json!({}), json!({}), http_port()));
    let policy = by_name(&index, "web", 81, false).expect("a policy");
    assert!(refused(&policy).is_some_and(|m| m.contains("no port 81")));
}

#[test]
fn what_a_port_speaks_comes_from_app_protocol_then_annotation() {
    let kind = |notes: Value, port: Value| {
        let mut index = index();
        let number = port["port"].as_u64().and_then(|n| u16::try_from(n).ok()).expect("a port");
        service(&mut index, web(json!({}), notes, port));
        let policy = by_name(&index, "web", number, false).expect("a policy");
        match policy.protocol.and_then(|p| p.kind).expect("a protocol") {
            Kind::Http1(_) => "http/1",
            Kind::Http2(_) => "http/2",
            Kind::Opaque(_) => "opaque",
            _ => "detect",
        }
    };
    let opaque = json!({"config.linkerd.io/opaque-ports": "80"});
    assert_eq!(kind(json!({}), http_port()), "detect");
    assert_eq!(kind(opaque.clone(), http_port()), "opaque");
    assert_eq!(kind(opaque.clone(), json!({"port": 80, "appProtocol": "http"})), "http/1");
    assert_eq!(kind(opaque, json!({"port": 80, "appProtocol": "kubernetes.io/h2c"})), "http/2");
    assert_eq!(kind(json!({}), json!({"port": 80, "appProtocol": "linkerd.io/tcp"})), "opaque");
    assert_eq!(kind(json!({}), json!({"port": 3306})), "opaque");
}

#[test]
fn annotations_set_timeouts_retries_and_accrual() {
    let mut index = index();
    let notes = json!({
        "timeout.linkerd.io/request": "2s", "retry.linkerd.io/http": "gateway-error", "retry.linkerd.io/limit": "3",
        "balancer.linkerd.io/failure-accrual": "consecutive"
    });
    service(&mut index, web(json!({}), notes, http_port()));
    let policy = by_name(&index, "web", 80, false).expect("a policy");
    let (http, _) = detect(&policy);
    let rule = &http.rules[0];
    assert_eq!(rule.timeouts.as_ref().and_then(|t| t.request).map(|d| d.seconds), Some(2));
    let retry = rule.retry.as_ref().expect("retries");
    assert_eq!((retry.max_retries, retry.max_request_bytes), (3, 65_536));
    assert!(accrual(&policy));
}

fn accrual(policy: &OutboundPolicy) -> bool {
    match policy.protocol.as_ref().and_then(|p| p.kind.as_ref()) {
        Some(Kind::Detect(detect)) => detect.http1.as_ref().is_some_and(|h| h.failure_accrual.is_some()),
        _ => false,
    }
}

fn tiers(index: &Index) -> Vec<String> {
    let policy = by_name(index, "web-federated", 80, false).expect("a policy");
    let (http, _) = detect(&policy);
    let member = |b: &Backend| {
        let Some(metadata::Kind::Resource(resource)) = b.metadata.clone().and_then(|m| m.kind) else {
            panic!()
        };
        assert!(path(b).starts_with(&format!("{}.web-federated.shop.svc.", resource.section)));
        resource.section
    };
    http_backends(http).into_iter().map(member).collect()
}

#[test]
fn a_federated_service_is_balanced_as_one_unless_it_prefers_the_near() {
    let index = federated(json!({}), json!({}));
    let policy = by_name(&index, "web-federated", 80, false).expect("a policy");
    let (http, _) = detect(&policy);
    assert_eq!(
        http_backends(http).into_iter().map(path).collect::<Vec<_>>(),
        ["web-federated.shop.svc.cluster.local:80"]
    );
    assert!(!accrual(&policy));
}

#[test]
fn tiers_are_local_then_clusters_by_distance_then_by_name_and_accrue_failures() {
    let index = federated(
        json!({"trafficDistribution": "PreferClose"}),
        json!({"isthmus.dev/cluster-order": "west,gone,east"}),
    );
    assert_eq!(tiers(&index), ["local", "west", "east", "north"]);
    assert!(accrual(&by_name(&index, "web-federated", 80, false).expect("a policy")));
}

#[test]
fn people_order_tiers_by_annotation_the_local_one_included() {
    let order = |failover: &str| {
        let notes = json!({"isthmus.dev/failover": failover, "isthmus.dev/cluster-order": "west,east"});
        tiers(&federated(json!({}), notes))
    };
    assert_eq!(order("enabled"), ["local", "west", "east", "north"]);
    assert_eq!(order("north"), ["local", "north", "west", "east"]);
    assert_eq!(order("east, local"), ["east", "local", "west", "north"]);
}

#[test]
fn one_member_asked_for_by_name_is_one_backend() {
    let index = federated(json!({"trafficDistribution": "PreferClose"}), json!({}));
    let part = Some("east".to_owned());
    let destination = Destination::Name { service: Key::new("shop", "web-federated"), port: 80, part };
    let policy = index.outbound(&destination, false).expect("a policy");
    let (http, _) = detect(&policy);
    let paths: Vec<_> = http_backends(http).into_iter().map(path).collect();
    assert_eq!(paths, ["east.web-federated.shop.svc.cluster.local:80"]);
}

#[test]
fn a_gateway_forwards_to_exported_services_only() {
    let answer = |labels: Value| {
        let mut index = index();
        service(&mut index, web(labels, json!({}), http_port()));
        refused(&by_name(&index, "web", 80, true).expect("a policy"))
    };
    assert!(answer(json!({})).is_some_and(|m| m.contains("not exported")));
    assert!(answer(json!({"mirror.linkerd.io/exported": "remote-discovery"})).is_some());
    assert!(answer(json!({"mirror.linkerd.io/exported": "false"})).is_some());
    assert_eq!(answer(json!({"mirror.linkerd.io/exported": "true"})), None);
    assert_eq!(answer(json!({"mirror.linkerd.io/federated": "member"})), None);
}

#[test]
fn a_gateway_is_no_transit_to_other_clusters() {
    let index = federated(json!({}), json!({}));
    assert!(refused(&by_name(&index, "web-federated", 80, true).expect("a policy")).is_some());
    let mut index = index;
    let mirror = json!({"mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/exported": "true"});
    service(&mut index, web(mirror, json!({}), http_port()));
    assert!(
        refused(&by_name(&index, "web", 80, true).expect("a policy")).is_some(),
        "though labelled as exported"
    );
    assert!(refused(&by_name(&index, "web", 80, false).expect("a policy")).is_none(), "others may use it");
}

fn annotated(notes: Value, port: Value) -> OutboundPolicy {
    let mut index = index();
    service(&mut index, web(json!({}), notes, port));
    by_name(&index, "web", 80, false).expect("a policy")
}

#[test]
fn unified_accrual_is_told_with_its_share_window_and_backoff() {
    use mesh_api::outbound::failure_accrual::Kind::Unified;
    let notes = json!({
        "balancer.linkerd.io/failure-accrual": "unified",
        "balancer.linkerd.io/failure-accrual-consecutive-max-failures": "3",
        "balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold": "0.9",
        "balancer.alpha.linkerd.io/failure-accrual-success-rate-window": "20s",
        "balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests": "8",
        "balancer.alpha.linkerd.io/failure-accrual-honor-retry-after": "true",
    });
    let policy = annotated(notes, http_port());
    let Some(Kind::Detect(detect)) = policy.protocol.and_then(|p| p.kind) else { panic!("detected") };
    let accrual = detect.http2.and_then(|h| h.failure_accrual).and_then(|a| a.kind);
    let Some(Unified(unified)) = accrual else { panic!("{accrual:?}") };
    assert_eq!((unified.success_rate_threshold, unified.min_requests), (0.9, 8));
    assert_eq!((unified.max_consecutive_failures, unified.decay.map(|d| d.seconds)), (3, Some(20)));
    assert!(unified.backoff.is_some_and(|b| b.respect_retry_after_hint));
}

#[test]
fn penalized_failures_are_told_to_the_load_balancer() {
    use mesh_api::outbound::backend::balance_p2c::Load;
    let load = |notes: Value| {
        let policy = annotated(notes, http_port());
        let (http, _) = detect(&policy);
        match &http_backends(http)[0].kind {
            Some(backend::Kind::Balancer(balancer)) => balancer.load.expect("a load"),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(load(json!({})), Load::PeakEwma(_)));
    let notes = json!({
        "balancer.alpha.linkerd.io/penalize-failures": "true",
        "balancer.alpha.linkerd.io/load-biaser-penalty": "2s",
    });
    let Load::PenaltyPeakEwma(load) = load(notes) else { panic!("no penalty") };
    let seconds = |d: Option<mesh_api::prost_types::Duration>| d.map(|d| d.seconds);
    assert_eq!((seconds(load.penalty), seconds(load.max_retry_after)), (Some(2), Some(300)));
    assert_eq!(seconds(load.default_rtt), Some(0));
}

#[test]
fn grpc_codes_are_retried_on_ports_that_are_known_to_speak_http2() {
    let notes = || json!({"retry.linkerd.io/grpc": "unavailable,internal", "timeout.linkerd.io/idle": "5s"});
    let policy = annotated(notes(), json!({"port": 80, "appProtocol": "kubernetes.io/h2c"}));
    let Some(Kind::Grpc(grpc)) = policy.protocol.and_then(|p| p.kind) else { panic!("no gRPC route") };
    let rule = &grpc.routes[0].rules[0];
    let retry = rule.retry.expect("retries");
    let conditions = retry.conditions.expect("conditions");
    assert!(conditions.unavailable && conditions.internal && !conditions.cancelled);
    assert_eq!(rule.timeouts.and_then(|t| t.idle).map(|d| d.seconds), Some(5));
    let undetected = annotated(notes(), http_port());
    let (http, _) = detect(&undetected);
    assert!(http.rules[0].retry.is_none(), "no HTTP status is to be retried");
}

#[test]
fn a_service_remembers_which_of_its_annotations_have_no_effect() {
    let mut index = index();
    let notes = json!({"retry.linkerd.io/grpc": "unavailable", "timeout.linkerd.io/request": "soon"});
    service(&mut index, web(json!({}), notes, http_port()));
    let problems = &index.service(&Key::new("shop", "web")).expect("the Service").problems;
    let told: Vec<_> = problems.iter().map(|p| p.annotation.as_str()).collect();
    assert_eq!(told, ["timeout.linkerd.io/request", "retry.linkerd.io/grpc"]);
    assert!(problems[1].reason.contains("kubernetes.io/h2c"));
}
