use super::*;
use crate::{PathMatch, Pattern, ValueMatch};
use http::Method;
use proptest::prelude::*;

fn request(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

fn rule(value: &'static str, m: RequestMatch) -> Rule<&'static str> {
    Rule { matches: vec![m], value }
}

fn path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..RequestMatch::default() }
}

fn prefix(p: &str) -> RequestMatch {
    path(PathMatch::Prefix(p.to_owned()))
}

fn taken(rules: Vec<Rule<&'static str>>, request: &Request<()>) -> Option<&'static str> {
    let routes = [Route { hosts: vec![], rules }];
    find(&routes, request).map(|f| *f.value)
}

#[test]
fn exact_paths_beat_prefixes_and_longer_prefixes_beat_shorter() {
    let rules = || {
        vec![
            rule("root", prefix("/")),
            rule("api", prefix("/api")),
            rule("exact", path(PathMatch::Exact("/api/v1".into()))),
            rule("regex", path(PathMatch::Regex(Pattern::new("/x[0-9]+").unwrap()))),
        ]
    };
    assert_eq!(taken(rules(), &request("/api/v1")), Some("exact"));
    assert_eq!(taken(rules(), &request("/api/v2")), Some("api"));
    assert_eq!(taken(rules(), &request("/apis")), Some("root"));
    assert_eq!(
        taken(
            vec![rule("regex", path(PathMatch::Regex(Pattern::new("/x[0-9]+").unwrap())))],
            &request("/x12y")
        ),
        None
    );
}

#[test]
fn method_headers_and_query_break_ties() {
    let get = RequestMatch { method: Some(Method::GET), ..prefix("/a") };
    let header = RequestMatch {
        headers: vec![("x-v".parse().unwrap(), ValueMatch::Exact("2".into()))],
        ..prefix("/a")
    };
    let query = RequestMatch { query: vec![("q".into(), ValueMatch::Exact("a b".into()))], ..prefix("/a") };
    let rules =
        || vec![rule("query", query.clone()), rule("header", header.clone()), rule("plain", prefix("/a"))];
    assert_eq!(taken(rules(), &request("/a?q=a+b")), Some("query"));
    assert_eq!(taken(rules(), &request("/a?q=a%20b&q=c")), Some("query"));
    assert_eq!(taken(rules(), &request("/a?q=c")), Some("plain"));
    let mut with_header = request("/a?q=a+b");
    with_header.headers_mut().insert("x-v", "2".parse().unwrap());
    assert_eq!(taken(rules(), &with_header), Some("header"));
    assert_eq!(taken(vec![rule("header", header.clone()), rule("get", get)], &with_header), Some("get"));
}

#[test]
fn hosts_are_matched_without_port_and_exact_before_wildcard() {
    let route = |host, value| Route { hosts: vec![host], rules: vec![Rule { matches: vec![], value }] };
    let routes = [
        route(HostMatch::Suffix("example.com".into()), "wild"),
        route(HostMatch::Exact("a.example.com".into()), "exact"),
    ];
    let ask = |host: &str| {
        let request = Request::builder().uri("/").header("host", host).body(()).unwrap();
        find(&routes, &request).map(|f| *f.value)
    };
    assert_eq!(ask("A.example.com:8080"), Some("exact"));
    assert_eq!(ask("b.example.com"), Some("wild"));
    assert_eq!(ask("example.com"), None);
    assert_eq!(ask("notexample.com"), None);
}

#[test]
fn the_first_of_equal_rules_wins() {
    assert_eq!(taken(vec![rule("a", prefix("/x")), rule("b", prefix("/x"))], &request("/x/y")), Some("a"));
    assert_eq!(taken(vec![], &request("/")), None);
}

proptest! {
    #[test]
    fn a_rule_without_matches_takes_every_request(path in "/[a-z/]{0,20}(\\?[a-z=&%+]{0,10})?") {
        let routes = [Route { hosts: vec![], rules: vec![Rule { matches: vec![], value: () }] }];
        prop_assert!(find(&routes, &request(&path)).is_some());
    }

    #[test]
    fn a_longer_matching_prefix_always_wins(segments in prop::collection::vec("[a-z]{1,4}", 1..6)) {
        let full = format!("/{}", segments.join("/"));
        let mut at = String::new();
        let mut rules = vec![Rule { matches: vec![prefix("/")], value: "/".to_owned() }];
        for segment in &segments {
            at.push('/');
            at.push_str(segment);
            rules.push(Rule { matches: vec![prefix(&at)], value: at.clone() });
        }
        let routes = [Route { hosts: vec![], rules }];
        prop_assert_eq!(find(&routes, &request(&full)).unwrap().value, &full);
    }
}
