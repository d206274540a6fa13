//! Who gets in and what they may do: certificates, tokens, roles, reviews, impersonation.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use http::Request;
use http_body_util::Full;
use mesh_testkit::{Cluster, Http};
use serde_json::{Value, json};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn start() -> (Cluster, Http) {
    let cluster = Cluster::start().await.expect("a cluster");
    let http = cluster.http().expect("a client");
    (cluster, http)
}

async fn review(http: &Http, token: &str, audiences: &[&str]) -> Value {
    let body = json!({"spec": {"token": token, "audiences": audiences}});
    http.post(REVIEWS, &body).await.expect("answered").json["status"].clone()
}

#[tokio::test]
async fn without_credentials_only_health_and_version_are_open() {
    let (cluster, _) = start().await;
    let nobody = cluster.http_with_token(None).expect("a client");
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(nobody.get(path).await.expect("answered").status, 200, "{path}");
    }
    let refused = nobody.get("/api/v1/namespaces").await.expect("answered");
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("system:anonymous"), "{}", refused.text);
    let wrong = cluster.http_with_token(Some("not-a-token")).expect("a client");
    assert_eq!(wrong.get("/version").await.expect("answered").status, 401);
}

#[tokio::test]
async fn an_account_may_do_what_its_role_says_and_no_more() {
    let (cluster, http) = start().await;
    let token = cluster.token("default", "default", "").expect("a token");
    let account = cluster.http_with_token(Some(&token)).expect("a client");
    let maps = "/api/v1/namespaces/default/configmaps";
    let refused = account.get(maps).await.expect("answered");
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("system:serviceaccount:default:default"), "{}", refused.text);
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]});
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    http.post(&format!("{RBAC}/namespaces/default/roles"), &role).await.expect("answered");
    http.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.expect("answered");
    assert_eq!(account.get(maps).await.expect("answered").status, 200);
    assert_eq!(account.get("/api/v1/configmaps").await.expect("answered").status, 403);
    let create = account.post(maps, &json!({"metadata": {"name": "x"}})).await.expect("answered");
    assert_eq!(create.status, 403);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let (cluster, http) = start().await;
    let binding = json!({"metadata": {"name": "editor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]});
    http.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.expect("answered");
    let eve = cluster.http_as("eve", &[]).expect("a client");
    let path = format!("{RBAC}/namespaces/default/roles");
    let all = json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let refused = eve.post(&path, &all).await.expect("answered");
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert!(refused.text.contains("not currently held"), "{}", refused.text);
    let own = json!({"metadata": {"name": "own"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    assert_eq!(eve.post(&path, &own).await.expect("answered").status, 201);
}

#[tokio::test]
async fn a_pods_token_is_good_for_its_audience_and_while_the_pod_lives() {
    let (cluster, http) = start().await;
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}});
    let pod = http.post("/api/v1/namespaces/default/pods", &pod).await.expect("answered").json;
    let request = json!({"spec": {"audiences": ["identity.l5d.io"], "expirationSeconds": 600,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": pod["metadata"]["uid"]}}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = http.post(path, &request).await.expect("answered");
    assert_eq!(answer.status, 201, "{}", answer.text);
    let token = answer.json["status"]["token"].as_str().expect("a token");
    let status = review(&http, token, &["identity.l5d.io"]).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["web"]));
    assert_eq!(status["audiences"], json!(["identity.l5d.io"]));
    let wrong = review(&http, token, &[]).await;
    assert_ne!(wrong["authenticated"], true);
    assert!(wrong["error"].as_str().is_some_and(|e| e.contains("audiences")), "{wrong}");
    let bearer = cluster.http_with_token(Some(token)).expect("a client");
    assert_eq!(bearer.get("/version").await.expect("answered").status, 401);
    http.delete("/api/v1/namespaces/default/pods/web", &Value::Null).await.expect("answered");
    let gone = review(&http, token, &["identity.l5d.io"]).await;
    assert!(gone["error"].as_str().is_some_and(|e| e.contains("invalidated")), "{gone}");
}

#[tokio::test]
async fn a_token_request_for_another_pods_account_is_refused() {
    let (_cluster, http) = start().await;
    let account = json!({"metadata": {"name": "other"}});
    http.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect("answered");
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}});
    http.post("/api/v1/namespaces/default/pods", &pod).await.expect("answered");
    let request = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web"}}});
    let path = "/api/v1/namespaces/default/serviceaccounts/other/token";
    assert_eq!(http.post(path, &request).await.expect("answered").status, 422);
    let short = json!({"spec": {"expirationSeconds": 60}});
    assert_eq!(http.post(path, &short).await.expect("answered").status, 422);
}

#[tokio::test]
async fn a_token_secret_is_filled_and_its_token_lives_as_long_as_it() {
    let (cluster, http) = start().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "link", "annotations": {"kubernetes.io/service-account.name": "link"}},
        "type": "kubernetes.io/service-account-token"});
    http.post(secrets, &secret).await.expect("answered");
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    http.post(accounts, &json!({"metadata": {"name": "link"}})).await.expect("answered");
    let filled = http.get(&format!("{secrets}/link")).await.expect("answered").json;
    for key in ["token", "ca.crt", "namespace"] {
        assert!(filled["data"][key].is_string(), "{key} is missing: {filled}");
    }
    let decode = |text: &str| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    let token = decode(filled["data"]["token"].as_str().expect("a token"));
    let account = cluster.http_with_token(Some(&token)).expect("a client");
    assert_eq!(account.get("/version").await.expect("answered").status, 200);
    http.delete(&format!("{accounts}/link"), &Value::Null).await.expect("answered");
    assert_eq!(account.get("/version").await.expect("answered").status, 401);
    assert_eq!(http.get(&format!("{secrets}/link")).await.expect("answered").status, 404);
}

#[tokio::test]
async fn access_reviews_answer_for_oneself_and_for_others() {
    let (cluster, http) = start().await;
    let own = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(http.post(path, &own).await.expect("answered").json["status"]["allowed"], true);
    let account = cluster.token("default", "default", "").expect("a token");
    let account = cluster.http_with_token(Some(&account)).expect("a client");
    assert_eq!(account.post(path, &own).await.expect("answered").json["status"]["allowed"], false);
    let mut other = own.clone();
    other["spec"]["user"] = "system:serviceaccount:default:default".into();
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(http.post(path, &other).await.expect("answered").json["status"]["allowed"], false);
    assert_eq!(account.post(path, &other).await.expect("answered").status, 403);
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = account.post(whoami, &json!({})).await.expect("answered").json;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:default", "{me}");
}

#[tokio::test]
async fn who_may_impersonate_acts_as_another() {
    let (cluster, http) = start().await;
    let as_eve = || {
        Request::get("/api/v1/namespaces")
            .header("impersonate-user", "eve")
            .body(Full::default())
            .expect("a request")
    };
    let refused = http.send(as_eve()).await.expect("answered");
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("\\\"eve\\\""), "{}", refused.text);
    let eve = cluster.http_as("eve", &[]).expect("a client");
    let denied = eve.send(as_eve()).await.expect("answered");
    assert!(denied.text.contains("impersonate"), "{}", denied.text);
}
