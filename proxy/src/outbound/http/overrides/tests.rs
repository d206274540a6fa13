use super::*;
use crate::http::limit::Timeouts;
use std::time::Duration;

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
}

const ALL: &[(&str, &str)] = &[
    ("l5d-timeout", "2s"),
    ("l5d-response-timeout", "500ms"),
    ("l5d-retry-http", "5xx,429"),
    ("l5d-retry-grpc", "unavailable,internal"),
    ("l5d-retry-limit", "3"),
    ("l5d-retry-timeout", "100ms"),
];

#[test]
fn allowed_fields_replace_what_the_route_says() {
    let mut map = fields(ALL);
    let terms = take(&mut map, &Terms::default(), true).into_owned();
    let (request, response) = (Some(Duration::from_secs(2)), Some(Duration::from_millis(500)));
    assert_eq!(terms.timeouts, Timeouts { request, response, idle: None });
    let retry = terms.retry.unwrap();
    assert_eq!(retry.statuses, [500..=599, 429..=429]);
    assert_eq!(retry.grpc, [14, 13]);
    assert_eq!((retry.max, retry.timeout), (3, Some(Duration::from_millis(100))));
    assert!(map.is_empty());
}

#[test]
fn fields_that_are_not_allowed_are_dropped_all_the_same() {
    let mut map = fields(ALL);
    map.insert("l5d-require-id", HeaderValue::from_static("kept"));
    let terms = Terms::default();
    assert!(matches!(take(&mut map, &terms, false), Cow::Borrowed(_)));
    assert_eq!(map.keys().collect::<Vec<_>>(), ["l5d-require-id"]);
}

#[test]
fn the_rest_of_the_routes_retries_stays() {
    let retry = Retry { max: 7, statuses: vec![503..=503], ..Retry::blank() };
    let terms = Terms { retry: Some(retry), ..Terms::default() };
    let own = take(&mut fields(&[("l5d-retry-limit", "2")]), &terms, true).into_owned().retry.unwrap();
    assert_eq!((own.max, own.statuses), (2, vec![503..=503]));
}

#[test]
fn a_field_that_cannot_be_read_is_as_if_it_were_not_there() {
    let odd = [
        ("l5d-timeout", "soon"),
        ("l5d-response-timeout", "0s"),
        ("l5d-retry-http", "6xx"),
        ("l5d-retry-grpc", "sorry"),
        ("l5d-retry-limit", "-1"),
        ("l5d-retry-timeout", "1.5s"),
    ];
    let mut map = fields(&odd);
    let terms = take(&mut map, &Terms::default(), true).into_owned();
    assert_eq!(terms.timeouts, Timeouts::default());
    assert!(terms.retry.is_none_or(|retry| retry == Retry::blank()));
    assert!(map.is_empty());
}
