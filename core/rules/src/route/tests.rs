use super::*;
use proptest::prelude::*;

fn prefix(path: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Prefix(path.into())), ..HttpMatch::default() }
}

fn exact(path: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Exact(path.into())), ..HttpMatch::default() }
}

fn route(hosts: &[HostMatch], rules: Vec<(Vec<HttpMatch>, &'static str)>) -> Route<&'static str> {
    let rules = rules.into_iter().map(|(matches, target)| Rule { matches, target }).collect();
    Route { hosts: hosts.to_vec(), rules }
}

fn taken(
    routes: &[Route<&'static str>],
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Option<&'static str> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    find(routes, &RequestView::of(&request)).map(|found| *found.target)
}

#[test]
fn the_more_specific_path_wins_whatever_the_order() {
    let routes = [route(
        &[],
        vec![
            (vec![], "all"),
            (
                vec![HttpMatch {
                    path: Some(PathMatch::Regex(Pattern::new("/a/[^/]+").unwrap())),
                    ..HttpMatch::default()
                }],
                "regex",
            ),
            (vec![prefix("/a")], "prefix"),
            (vec![prefix("/a/b/")], "longer"),
            (vec![exact("/a/b")], "exact"),
        ],
    )];
    let on = |uri| taken(&routes, "GET", uri, &[]);
    assert_eq!(on("/a/b"), Some("exact"));
    assert_eq!(on("/a/b/c"), Some("longer"));
    assert_eq!(on("/a/x"), Some("prefix"));
    assert_eq!(on("/ab"), Some("all"));
}

#[test]
fn method_headers_and_query_break_ties_in_this_order() {
    let with = |method: Option<Method>, headers: &[&str], query: &[&str]| HttpMatch {
        method,
        headers: headers
            .iter()
            .map(|n| HeaderMatch { name: n.parse().unwrap(), value: ValueMatch::Exact(b"1".to_vec()) })
            .collect(),
        query: query
            .iter()
            .map(|n| QueryMatch { name: (*n).into(), value: ValueMatch::Exact(b"1".to_vec()) })
            .collect(),
        ..prefix("/")
    };
    let routes = [
        route(&[], vec![(vec![with(None, &[], &["q"])], "query")]),
        route(&[], vec![(vec![with(None, &["x-a"], &[])], "header")]),
        route(&[], vec![(vec![with(Some(Method::POST), &[], &[])], "method")]),
        route(&[], vec![(vec![prefix("/")], "first"), (vec![prefix("/")], "second")]),
    ];
    assert_eq!(taken(&routes, "POST", "/?q=1", &[("x-a", "1")]), Some("method"));
    assert_eq!(taken(&routes, "GET", "/?q=1", &[("x-a", "1")]), Some("header"));
    assert_eq!(taken(&routes, "GET", "/?q=1", &[]), Some("query"));
    assert_eq!(taken(&routes, "GET", "/?q=2", &[]), Some("first"));
}

#[test]
fn the_more_specific_host_wins_over_any_path() {
    let routes = [
        route(&[], vec![(vec![exact("/x")], "any")]),
        route(&[HostMatch::Suffix("shop.org".into())], vec![(vec![], "suffix")]),
        route(&[HostMatch::Exact("web.shop.org".into())], vec![(vec![], "exact")]),
    ];
    assert_eq!(taken(&routes, "GET", "/x", &[("host", "WEB.shop.org:8080")]), Some("exact"));
    assert_eq!(taken(&routes, "GET", "http://cart.shop.org/x", &[]), Some("suffix"));
    assert_eq!(taken(&routes, "GET", "/x", &[("host", "shop.org")]), Some("any"));
    assert_eq!(taken(&routes, "GET", "/y", &[("host", "other.org")]), None);
}

#[test]
fn values_match_whole_and_decoded() {
    let query =
        |value| HttpMatch { query: vec![QueryMatch { name: "n m".into(), value }], ..HttpMatch::default() };
    let routes = [route(
        &[],
        vec![
            (vec![query(ValueMatch::Exact(b"a/b".to_vec()))], "exact"),
            (vec![query(ValueMatch::Regex(Pattern::new("[0-9]+|x").unwrap()))], "regex"),
        ],
    )];
    assert_eq!(taken(&routes, "GET", "/?n+m=a%2Fb&n+m=7", &[]), Some("exact"));
    assert_eq!(taken(&routes, "GET", "/?n%20m=42", &[]), Some("regex"));
    assert_eq!(taken(&routes, "GET", "/?n%20m=x42", &[]), None);
}

#[test]
fn grpc_methods_are_matched_in_any_service() {
    let method = HttpMatch { path: Some(PathMatch::GrpcMethod("Get".into())), ..HttpMatch::default() };
    let routes = [route(&[], vec![(vec![method], "get")])];
    assert_eq!(taken(&routes, "POST", "/a.B/Get", &[]), Some("get"));
    assert_eq!(taken(&routes, "POST", "/a.B/GetAll", &[]), None);
}

#[test]
fn a_broken_expression_is_named() {
    assert!(Pattern::new("a)(b").unwrap_err().to_string().contains("a)(b"));
}

proptest! {
    #[test]
    fn decoding_never_panics(text in "[a-z%+0-9A-F]{0,40}") {
        prop_assert!(decode(&text).len() <= text.len());
    }
}
