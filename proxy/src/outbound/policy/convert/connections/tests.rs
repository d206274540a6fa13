use super::*;
use crate::outbound::discovery::backends_for_tests as backends;
use crate::outbound::policy::convert::policy;
use crate::outbound::policy::{Distribution, Protocol, Snapshot};
use api::backend::endpoint_discovery::{DestinationGet, Kind as DiscoveryKind};
use api::backend::{BalanceP2c, EndpointDiscovery, Kind as BackendKind};
use api::tls_route::{Distribution as ApiDistribution, Filter, Rule, distribution, filter};
use mesh_api::opaque_route::{Forbidden, Invalid};
use mesh_api::tls_route::sni_match::{Match, Suffix};

fn exact(name: &str) -> SniMatch {
    SniMatch { r#match: Some(Match::Exact(name.to_owned())) }
}

fn suffix(reverse_labels: &[&str]) -> SniMatch {
    let reverse_labels = reverse_labels.iter().map(|label| (*label).to_owned()).collect();
    SniMatch { r#match: Some(Match::Suffix(Suffix { reverse_labels })) }
}

fn backend(path: &str) -> api::tls_route::RouteBackend {
    let discovery =
        EndpointDiscovery { kind: Some(DiscoveryKind::Dst(DestinationGet { path: path.to_owned() })) };
    let balancer = BalanceP2c { discovery: Some(discovery), load: None };
    let backend = api::Backend { kind: Some(BackendKind::Balancer(balancer)), ..api::Backend::default() };
    api::tls_route::RouteBackend { backend: Some(backend), filters: Vec::new() }
}

fn invalid(message: &str) -> Filter {
    Filter { kind: Some(filter::Kind::Invalid(Invalid { message: message.to_owned() })) }
}

fn forbidden() -> Filter {
    Filter { kind: Some(filter::Kind::Forbidden(Forbidden {})) }
}

fn route(name: &str, snis: Vec<SniMatch>, filters: Vec<Filter>, kind: distribution::Kind) -> api::TlsRoute {
    let rule = Rule { backends: Some(ApiDistribution { kind: Some(kind) }), filters };
    let metadata = Some(mesh_api::convert::default_metadata(name));
    api::TlsRoute { metadata, snis, rules: vec![rule] }
}

fn first(backends: Vec<api::tls_route::RouteBackend>) -> distribution::Kind {
    distribution::Kind::FirstAvailable(distribution::FirstAvailable { backends })
}

fn snapshot(routes: Vec<api::TlsRoute>) -> Snapshot {
    let kind = api::proxy_protocol::Kind::Tls(api::proxy_protocol::Tls { routes });
    let protocol = Some(api::ProxyProtocol { kind: Some(kind) });
    policy(api::OutboundPolicy { protocol, metadata: None }, &backends()).unwrap()
}

fn taken<'a>(snapshot: &'a Snapshot, sni: &str) -> Option<&'a Opaque> {
    let Protocol::Tls(tls) = &snapshot.protocol else { panic!("{snapshot:?}") };
    tls.route(Some(sni))
}

fn name(route: &Opaque) -> &str {
    route.labels.get("route_name").unwrap()
}

#[tokio::test(flavor = "local")]
async fn the_seed_of_the_fuzzer_is_a_policy_with_three_routes() {
    use mesh_api::prost::Message;
    let seed = include_bytes!("../../../../../../fuzz/seeds/policy/outbound-tls");
    let snapshot = policy(api::OutboundPolicy::decode(&seed[..]).unwrap(), &backends()).unwrap();
    assert_eq!(taken(&snapshot, "web.shop.example").map(name), Some("web"));
    assert_eq!(taken(&snapshot, "web.shop.example").unwrap().refusing.len(), 1);
    assert_eq!(taken(&snapshot, "elsewhere").map(name), Some("tls-egress-deny"));
}

#[tokio::test(flavor = "local")]
async fn names_may_end_in_dots_and_have_capitals() {
    let to = || first(vec![backend("a:443")]);
    let routes = vec![
        route("exact", vec![exact("Web.Example.")], vec![], to()),
        route("suffix", vec![suffix(&["", "com", "Example"])], vec![], to()),
    ];
    let snapshot = snapshot(routes);
    assert_eq!(taken(&snapshot, "web.example").map(name), Some("exact"));
    assert_eq!(taken(&snapshot, "a.b.example.com").map(name), Some("suffix"));
    assert!(taken(&snapshot, "example.com").is_none());
}

#[tokio::test(flavor = "local")]
async fn a_route_whose_names_are_unknown_to_us_is_for_none() {
    let to = || first(vec![backend("a:443")]);
    let unknown = || SniMatch { r#match: None };
    let routes = vec![
        route("unknown", vec![unknown(), suffix(&[]), exact("")], vec![], to()),
        route("partly", vec![unknown(), exact("web.example")], vec![], to()),
    ];
    let snapshot = snapshot(routes);
    assert_eq!(taken(&snapshot, "web.example").map(name), Some("partly"));
    assert!(taken(&snapshot, "other.example").is_none());
}

#[tokio::test(flavor = "local")]
async fn the_first_filter_refuses_and_one_that_is_unknown_does_too() {
    let to = || first(vec![backend("a:443")]);
    let routes = vec![
        route("forbidden", vec![exact("a")], vec![forbidden(), invalid("b")], to()),
        route("invalid", vec![exact("b")], vec![invalid("why"), forbidden()], to()),
        route("unknown", vec![exact("c")], vec![Filter { kind: None }], to()),
        route("none", vec![exact("d")], vec![], to()),
    ];
    let snapshot = snapshot(routes);
    let refused = |sni| snapshot.refuses_tls(Some(sni));
    assert_eq!(refused("a"), Some(Refusal::Forbidden("forbidden".to_owned())));
    assert_eq!(refused("b"), Some(Refusal::Invalid("why".to_owned())));
    assert!(matches!(refused("c"), Some(Refusal::Invalid(_))));
    assert_eq!(refused("d"), None);
    assert_eq!(refused("e"), None, "no route is no refusal of what is open");
    assert_eq!(snapshot.forbidden(), None, "some pass");
}

#[tokio::test(flavor = "local")]
async fn a_destination_is_forbidden_when_every_tls_route_refuses() {
    let to = || first(vec![backend("a:443")]);
    let routes = vec![
        route("one", vec![exact("a")], vec![forbidden()], to()),
        route("two", vec![], vec![invalid("b")], to()),
    ];
    assert_eq!(snapshot(routes).forbidden(), Some("one"));
    assert_eq!(snapshot(vec![]).forbidden(), None);
}

#[tokio::test(flavor = "local")]
async fn a_refusing_backend_hides_those_after_it() {
    let refusing = || api::tls_route::RouteBackend { filters: vec![invalid("no")], ..backend("b:443") };
    let routes = vec![
        route(
            "second",
            vec![exact("a")],
            vec![],
            first(vec![backend("a:443"), refusing(), backend("c:443")]),
        ),
        route("first", vec![exact("b")], vec![], first(vec![refusing(), backend("c:443")])),
    ];
    let snapshot = snapshot(routes);
    let route = taken(&snapshot, "a").unwrap();
    let Distribution::First(tiers, _) = &route.backends else { panic!("{route:?}") };
    assert_eq!(tiers.iter().map(|tier| &*tier.backend.name).collect::<Vec<_>>(), ["a:443"]);
    assert_eq!(route.refusal(0.0), None);
    let route = taken(&snapshot, "b").unwrap();
    assert_eq!(route.refusal(0.99), Some(&Refusal::Invalid("no".to_owned())));
}

#[tokio::test(flavor = "local")]
async fn weighted_backends_that_refuse_have_their_shares() {
    let weighted = |backend, weight| api::tls_route::WeightedRouteBackend { backend: Some(backend), weight };
    let refusing = || api::tls_route::RouteBackend { filters: vec![invalid("no")], ..backend("b:443") };
    let random = |backends| distribution::Kind::RandomAvailable(distribution::RandomAvailable { backends });
    let some = random(vec![weighted(refusing(), 1), weighted(backend("a:443"), 3), weighted(refusing(), 0)]);
    let all = random((0..3).map(|_| weighted(refusing(), 1)).collect());
    let snapshot = snapshot(vec![
        route("some", vec![exact("a")], vec![], some),
        route("all", vec![exact("b")], vec![], all),
    ]);
    let some = taken(&snapshot, "a").unwrap();
    assert_eq!(some.refusing.iter().map(|(share, _)| *share).collect::<Vec<_>>(), [0.25]);
    let Distribution::Random(list) = &some.backends else { panic!("{some:?}") };
    assert_eq!(
        list.iter().map(|(backend, weight)| (&*backend.backend.name, *weight)).collect::<Vec<_>>(),
        [("a:443", 3)]
    );
    let all = taken(&snapshot, "b").unwrap();
    assert!(all.refusal(0.0).is_some() && all.refusal(1.0_f64.next_down()).is_some());
}
