use super::{BoundTo, TokenFault, Tokens, token_user};
use crate::store::{Key, Store};
use serde_json::{Value, json};

fn object(name: &str, uid: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": uid}})
}

fn world() -> (Tokens, Store, Value) {
    let tokens = Tokens::new("cluster.local").expect("a key");
    let store = Store::default();
    let account = object("web", "account-1");
    store.insert("serviceaccounts", &Key::new("shop", "web"), account.clone()).expect("inserted");
    (tokens, store, account)
}

fn pod_token(tokens: &Tokens, account: &Value, audiences: &[String]) -> String {
    let bound = BoundTo { kind: "pod".into(), name: "web-0".into(), uid: "pod-1".into(), node: None };
    tokens.issue(account, audiences, 600, Some(&bound), jiff::Timestamp::now()).0
}

#[test]
fn a_token_names_its_account_and_its_pod() {
    let (tokens, store, account) = world();
    store.insert("pods", &Key::new("shop", "web-0"), object("web-0", "pod-1")).expect("inserted");
    let user = token_user(&tokens, &store, &pod_token(&tokens, &account, &[])).expect("accepted");
    assert_eq!(user.name, "system:serviceaccount:shop:web");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web-0"]);
    assert!(user.groups.contains(&"system:serviceaccounts:shop".to_owned()));
}

#[test]
fn a_token_is_refused_once_its_pod_is_gone_or_another_of_the_same_name() {
    let (tokens, store, account) = world();
    let token = pod_token(&tokens, &account, &[]);
    assert_eq!(token_user(&tokens, &store, &token), Err(TokenFault::Gone));
    store.insert("pods", &Key::new("shop", "web-0"), object("web-0", "pod-2")).expect("inserted");
    assert_eq!(token_user(&tokens, &store, &token), Err(TokenFault::Gone));
}

#[test]
fn a_token_for_somebody_else_is_refused_here() {
    let (tokens, store, account) = world();
    store.insert("pods", &Key::new("shop", "web-0"), object("web-0", "pod-1")).expect("inserted");
    let audience = "identity.l5d.io".to_owned();
    let token = pod_token(&tokens, &account, std::slice::from_ref(&audience));
    assert!(matches!(token_user(&tokens, &store, &token), Err(TokenFault::Audience { .. })));
    let verified = tokens.verify(&store, &token, std::slice::from_ref(&audience)).expect("accepted");
    assert_eq!(verified.audiences, [audience]);
}

#[test]
fn expired_foreign_and_broken_tokens_are_refused() {
    let (tokens, store, account) = world();
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    let (old, _) = tokens.issue(&account, &[], 600, None, past);
    assert_eq!(token_user(&tokens, &store, &old), Err(TokenFault::Expired));
    let (foreign, _) = world().0.issue(&account, &[], 600, None, jiff::Timestamp::now());
    assert_eq!(token_user(&tokens, &store, &foreign), Err(TokenFault::Malformed));
    assert_eq!(token_user(&tokens, &store, "a.b.c"), Err(TokenFault::Malformed));
}
