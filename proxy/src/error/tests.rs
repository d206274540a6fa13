use super::*;

#[test]
fn clients_are_told_the_reason_in_a_header() {
    let error = Error::NoEndpoints("web.shop".into());
    let response = error.response(false);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["l5d-proxy-error"], "no endpoints for web.shop");
}

#[test]
fn grpc_clients_get_a_trailers_only_status() {
    let error = Error::Unauthorized { kind: "request", server: "web".into(), client: "none".into() };
    let response = error.response(true);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "7");
}

#[test]
fn a_connection_that_was_never_made_may_be_retried() {
    let addr = "10.0.0.1:80".parse().unwrap();
    let refused = Error::Connect { addr, source: io::ErrorKind::ConnectionRefused.into() };
    assert!(refused.retry_safe());
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(refused.side(), Side::Server);
    assert!(!Error::ResponseTimeout(Duration::from_secs(1)).retry_safe());
}

#[test]
fn a_reason_that_no_header_can_carry_is_replaced() {
    let response = Error::InvalidRequest("a\nb".into()).response(false);
    assert_eq!(response.headers()["l5d-proxy-error"], "proxy error");
}
