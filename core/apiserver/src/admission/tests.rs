use super::call::endpoint;
use super::judge;
use serde_json::json;

#[test]
fn a_service_is_called_by_its_cluster_name() {
    let webhook =
        json!({"clientConfig": {"service": {"namespace": "linkerd", "name": "injector", "path": "/x"}}});
    let endpoint = endpoint(&webhook).expect("an endpoint");
    assert_eq!(
        (endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()),
        ("injector.linkerd.svc", 443, "/x")
    );
}

#[test]
fn a_refusal_carries_the_webhooks_words_and_code() {
    let answer = json!({"response": {"uid": "1", "allowed": false,
        "status": {"code": 403, "message": "no such profile"}}});
    let error = judge("policy.example", Some("1"), &answer).expect_err("refused");
    assert_eq!(error.code().as_u16(), 403);
    assert_eq!(error.to_string(), "admission webhook \"policy.example\" denied the request: no such profile");
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let answer = json!({"response": {"uid": "2", "allowed": true}});
    assert!(judge("policy.example", Some("1"), &answer).is_err());
}
