//! Secrets: `stringData`, and service account tokens that live in a Secret.

use crate::api::Api;
use crate::object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Type of a Secret that gets a token.
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";

/// Moves `stringData` into `data`.
pub(super) fn merge_string_data(secret: &mut Value) {
    let Some(map) = secret.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = object::member_mut(secret, "data");
    for (key, value) in plain {
        if let Some(text) = value.as_str() {
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

/// Fills token, root certificate and namespace into a token Secret whose account exists.
pub(crate) fn fill_token(api: &Api, secret: &mut Value) {
    let account_name = object::annotation(secret, "kubernetes.io/service-account.name").to_owned();
    let done = secret.pointer("/data/token").is_some();
    if object::field(secret, "type") != TOKEN_TYPE || account_name.is_empty() || done {
        return;
    }
    let namespace = object::namespace(secret).to_owned();
    let Some(account) = api.peek("serviceaccounts", &namespace, &account_name) else { return };
    let token = api.tokens.secret_token(&account, secret);
    let annotations = object::metadata_mut(secret).entry("annotations").or_insert_with(|| json!({}));
    annotations["kubernetes.io/service-account.uid"] = object::uid(&account).into();
    let data = object::member_mut(secret, "data");
    data.insert("token".into(), STANDARD.encode(token).into());
    data.insert("ca.crt".into(), STANDARD.encode(&api.ca_pem).into());
    data.insert("namespace".into(), STANDARD.encode(&namespace).into());
}
