//! Admission webhooks over TLS: what they are told, what they change, what they refuse, and what happens without them.
#![allow(clippy::expect_used)] // what fails in a helper fails the test

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mesh_testkit::{Cluster, Http};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What a webhook answers to an AdmissionReview's request.
type Answer = fn(&Value) -> Value;

struct Webhook {
    port: u16,
    ca: String,
    seen: mpsc::UnboundedReceiver<Value>,
}

/// Serves a webhook on loopback, under the name `localhost` and `hook.default.svc`.
async fn serve(answer: Answer) -> Webhook {
    mesh_tls::install_provider();
    let authority = mesh_tls::Authority::new_root("hook", Duration::from_secs(3600)).expect("an authority");
    let pair = authority
        .issue_server(&["localhost", "hook.default.svc"], &[], Duration::from_secs(3600))
        .expect("a certificate");
    let tls = mesh_tls::server_acceptor(&pair, None, &[b"http/1.1"]).expect("an acceptor");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, tell) = (tls.clone(), tell.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let tell = tell.clone();
                    async move {
                        let bytes = request.into_body().collect().await.expect("a body").to_bytes();
                        let review: Value = serde_json::from_slice(&bytes).expect("a review");
                        let mut response = answer(&review["request"]);
                        response["uid"] = review["request"]["uid"].clone();
                        tell.send(review["request"].clone()).expect("the test listens");
                        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                            "response": response});
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(review.to_string()))))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Webhook { port, ca: STANDARD.encode(authority.cert_pem()), seen }
}

async fn configure(http: &Http, kind: &str, hook: Value) {
    let plural = format!("{}s", kind.to_lowercase());
    let mut webhook = json!({"name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "timeoutSeconds": 2,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "operations": ["CREATE", "UPDATE", "DELETE"]}]});
    for (key, value) in hook.as_object().expect("an object") {
        webhook[key] = value.clone();
    }
    let body = json!({"metadata": {"name": "hook"}, "webhooks": [webhook]});
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let reply = http.post(&path, &body).await.expect("answered");
    assert_eq!(reply.status, 201, "{}", reply.text);
}

async fn start() -> (Cluster, Arc<Http>) {
    let cluster = Cluster::start().await.expect("a cluster");
    let http = Arc::new(cluster.http().expect("a client"));
    (cluster, http)
}

fn at(webhook: &Webhook) -> Value {
    json!({"url": format!("https://localhost:{}/admit", webhook.port), "caBundle": webhook.ca})
}

fn label(_: &Value) -> Value {
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}}]).to_string();
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch), "warnings": ["labelled"]})
}

fn refuse(_: &Value) -> Value {
    json!({"allowed": false, "status": {"message": "not on a Friday", "code": 403}})
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored() {
    let (_cluster, http) = start().await;
    let mut webhook = serve(label).await;
    configure(&http, "MutatingWebhookConfiguration", json!({"clientConfig": at(&webhook)})).await;
    let reply = http.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect("answered");
    assert_eq!(reply.json["metadata"]["labels"]["by"], "hook", "{}", reply.text);
    assert_eq!(reply.headers["warning"], "299 - \"labelled\"");
    let request = webhook.seen.recv().await.expect("a request");
    assert_eq!((&request["operation"], &request["namespace"]), (&json!("CREATE"), &json!("default")));
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["object"]["metadata"]["name"], "a");
}

#[tokio::test]
async fn a_validating_webhook_refuses_in_its_own_words() {
    let (_cluster, http) = start().await;
    let webhook = serve(refuse).await;
    configure(&http, "ValidatingWebhookConfiguration", json!({"clientConfig": at(&webhook)})).await;
    let reply = http.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect("answered");
    assert_eq!(reply.status, 403);
    let message = "admission webhook \"hook.example.com\" denied the request: not on a Friday";
    assert_eq!(reply.json["message"], message);
    assert_eq!(http.get(&format!("{MAPS}/a")).await.expect("answered").status, 404);
}

#[tokio::test]
async fn a_webhook_of_a_service_is_found_by_its_endpoints() {
    let (cluster, http) = start().await;
    let webhook = serve(label).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "hook"},
        "spec": {"ports": [{"name": "https", "port": 443}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "default", "name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": webhook.port, "protocol": "TCP"}]});
    cluster.create(service).await.expect("created");
    cluster.create(slice).await.expect("created");
    let config =
        json!({"service": {"namespace": "default", "name": "hook", "path": "/x"}, "caBundle": webhook.ca});
    configure(&http, "MutatingWebhookConfiguration", json!({"clientConfig": config})).await;
    let reply = http.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect("answered");
    assert_eq!(reply.json["metadata"]["labels"]["by"], "hook", "{}", reply.text);
}

#[tokio::test]
async fn selectors_keep_a_webhook_away() {
    let (_cluster, http) = start().await;
    let webhook = serve(refuse).await;
    let config = json!({"clientConfig": at(&webhook),
        "namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]},
        "objectSelector": {"matchLabels": {"checked": "true"}}});
    configure(&http, "ValidatingWebhookConfiguration", config).await;
    let body = |labels: Value| json!({"metadata": {"name": "a", "labels": labels}});
    let checked = body(json!({"checked": "true"}));
    assert_eq!(http.post(MAPS, &checked).await.expect("answered").status, 403);
    assert_eq!(http.post(MAPS, &body(json!({}))).await.expect("answered").status, 201);
    let system = "/api/v1/namespaces/kube-system/configmaps";
    assert_eq!(http.post(system, &checked).await.expect("answered").status, 201);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_called_fails_or_is_ignored_as_its_policy_says() {
    let (_cluster, http) = start().await;
    let webhook = serve(label).await;
    let stranger = serve(label).await;
    let config = json!({"url": format!("https://localhost:{}/admit", webhook.port), "caBundle": stranger.ca});
    configure(&http, "MutatingWebhookConfiguration", json!({"clientConfig": config})).await;
    let failed = http.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect("answered");
    assert_eq!(failed.status, 500);
    assert!(failed.text.contains("failed calling webhook \\\"hook.example.com\\\""), "{}", failed.text);
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hook";
    assert_eq!(http.patch(path, "json-patch", &ignore).await.expect("answered").status, 200);
    assert_eq!(http.post(MAPS, &json!({"metadata": {"name": "a"}})).await.expect("answered").status, 201);
}

#[tokio::test]
async fn a_container_added_by_a_webhook_gets_the_accounts_token() {
    fn sidecar(_: &Value) -> Value {
        let container = json!({"name": "proxy", "image": "isthmus/proxy:0.1.0"});
        let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": container}]).to_string();
        json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch)})
    }
    let (_cluster, http) = start().await;
    let webhook = serve(sidecar).await;
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]);
    let config = json!({"clientConfig": at(&webhook), "rules": rules});
    configure(&http, "MutatingWebhookConfiguration", config).await;
    let pod = json!({"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "web", "image": "isthmus/demo:0.1.0"}]}});
    let reply = http.post("/api/v1/namespaces/default/pods", &pod).await.expect("answered").json;
    for index in 0..2 {
        let mount = &reply["spec"]["containers"][index]["volumeMounts"][0];
        assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount", "{reply}");
    }
    assert_eq!(reply["spec"]["volumes"].as_array().map(Vec::len), Some(1));
}
