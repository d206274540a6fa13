use super::*;

#[test]
fn grpc_failures_are_the_servers_own_faults() {
    assert!(is_success(StatusCode::OK, Some(5)));
    assert!(!is_success(StatusCode::OK, Some(14)));
    assert!(!is_success(StatusCode::BAD_GATEWAY, None));
    assert!(is_success(StatusCode::NOT_FOUND, None));
}

#[test]
fn servers_ask_to_be_left_alone_in_seconds_or_by_grpc_pushback() {
    let asked = |name: &'static str, value: &'static str| {
        let map = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        retry_after(&map)
    };
    assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
    assert_eq!(asked("grpc-retry-pushback-ms", "250"), Some(Duration::from_millis(250)));
    assert_eq!(asked("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"), None);
    assert_eq!(asked("retry-after", "-1"), None);
}
