use super::*;

fn response(status: u16, header: Option<(&str, &str)>) -> Result<Response<Body>, Error> {
    let mut response = Response::builder().status(status);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    Ok(response.body(Body::Empty).unwrap())
}

fn retry() -> Retry {
    Retry { max: 1, max_bytes: 0, statuses: vec![500..=599], grpc: vec![14], timeout: None, backoff: None }
}

#[test]
fn what_is_marked_safe_goes_elsewhere_whatever_the_method() {
    let marked = response(503, Some(("isthmus-retry-safe", "true")));
    assert_eq!(verdict(&marked, None, false), Verdict::Safe);
    let connect = Err(Error::ConnectTimeout {
        addr: "10.0.0.1:1".parse().unwrap(),
        after: std::time::Duration::from_secs(1),
    });
    assert_eq!(verdict(&connect, None, false), Verdict::Safe);
}

#[test]
fn other_failures_are_tried_again_only_by_policy() {
    assert_eq!(verdict(&response(503, None), None, true), Verdict::Final);
    assert_eq!(verdict(&response(503, None), Some(&retry()), false), Verdict::Retry);
    assert_eq!(verdict(&response(404, None), Some(&retry()), false), Verdict::Final);
    assert_eq!(verdict(&response(200, Some(("grpc-status", "14"))), Some(&retry()), false), Verdict::Retry);
    assert_eq!(verdict(&response(200, Some(("grpc-status", "0"))), Some(&retry()), false), Verdict::Final);
}

#[test]
fn grpc_failures_are_the_servers_own_faults() {
    assert!(is_success(StatusCode::OK, Some(5)));
    assert!(!is_success(StatusCode::OK, Some(14)));
    assert!(!is_success(StatusCode::BAD_GATEWAY, None));
    assert!(is_success(StatusCode::NOT_FOUND, None));
}
