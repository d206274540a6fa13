//! Service account tokens: ES256, bound to an account and often to a pod, refused once either is gone.

use super::AUTHENTICATED;
use crate::object;
use crate::store::{Key, Store};
use crate::user::UserInfo;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Issuer of tokens that live in Secrets.
const SECRET_ISSUER: &str = "kubernetes/serviceaccount";
/// Seconds a token may be ahead of or behind our clock.
const LEEWAY: u64 = 10;

/// Issues and verifies the tokens of one cluster.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    jwk: Value,
    issuer: String,
}

/// What a requested token is bound to beside its account.
#[derive(Debug, Clone, Default)]
pub(crate) struct BoundTo {
    /// `pod`, `secret` or `node`.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Node of the pod, and its uid.
    pub(crate) node: Option<(String, String)>,
}

/// A token that stood every check.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) user: UserInfo,
    /// The audiences it shares with those asked for.
    pub(crate) audiences: Vec<String>,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    #[error("invalid bearer token")]
    Malformed,
    #[error("invalid bearer token, service account token has expired")]
    Expired,
    #[error("invalid bearer token, token audiences {token:?} is invalid for the target audiences {target:?}")]
    Audience { token: Vec<String>, target: Vec<String> },
    #[error("invalid bearer token, service account token has been invalidated")]
    Gone,
}

impl Tokens {
    /// A fresh key. The issuer is also the API server's own audience.
    pub(crate) fn new(cluster_domain: &str) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let der = pair.to_pkcs8v1()?;
        // Uncompressed point: 0x04, then x and y of 32 octets each.
        let point = pair.public_key().as_ref();
        let key_id = object::new_uid();
        let (x, y) = point.get(1..65).unwrap_or_default().split_at(32.min(point.len().saturating_sub(1)));
        let jwk = json!({"use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        Ok(Self {
            signing: EncodingKey::from_ec_der(der.as_ref()),
            verifying: DecodingKey::from_ec_der(point),
            key_id,
            jwk,
            issuer: format!("https://kubernetes.default.svc.{cluster_domain}"),
        })
    }

    /// The issuer, which is the API server's audience too.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key, as a JSON Web Key Set.
    pub(crate) fn key_set(&self) -> Value {
        json!({"keys": [self.jwk]})
    }

    /// A token for `account`; returns it with the moment it expires.
    pub(crate) fn issue(
        &self,
        account: &Value,
        audiences: &[String],
        seconds: i64,
        bound: Option<&BoundTo>,
        now: jiff::Timestamp,
    ) -> (String, jiff::Timestamp) {
        let (namespace, name) = (object::namespace(account), object::name(account));
        let mut kubernetes = json!({
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": object::uid(account)},
        });
        if let Some(bound) = bound {
            kubernetes[&bound.kind] = json!({"name": bound.name, "uid": bound.uid});
            if let Some((node, uid)) = &bound.node {
                kubernetes["node"] = json!({"name": node, "uid": uid});
            }
        }
        let at = now.as_second();
        let own = [self.issuer.clone()];
        let audiences = if audiences.is_empty() { &own[..] } else { audiences };
        let claims = json!({
            "aud": audiences, "exp": at + seconds, "iat": at, "nbf": at, "iss": self.issuer,
            "jti": object::new_uid(), "kubernetes.io": kubernetes,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let expires = now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
        (self.sign(&claims), expires)
    }

    /// The token of a Secret: it does not expire, and is good for as long as the Secret and the account are.
    pub(crate) fn secret_token(&self, account: &Value, secret: &Value) -> String {
        let (namespace, name) = (object::namespace(account), object::name(account));
        self.sign(&json!({
            "iss": SECRET_ISSUER,
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": object::name(secret),
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": object::uid(account),
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        }))
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot sign a token");
            String::new()
        })
    }

    /// Checks a token against `audiences` (empty: the API server's own) and against what exists.
    pub(crate) fn verify(
        &self,
        store: &Store,
        token: &str,
        audiences: &[String],
    ) -> Result<Verified, TokenFault> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let claims = jsonwebtoken::decode::<Value>(token, &self.verifying, &validation)
            .map_err(|e| match e.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenFault::Expired,
                _ => TokenFault::Malformed,
            })?
            .claims;
        let own = [self.issuer.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        if object::field(&claims, "iss") == SECRET_ISSUER {
            self.verify_secret(store, &claims, wanted)
        } else {
            self.verify_bound(store, &claims, wanted)
        }
    }

    fn verify_bound(&self, store: &Store, claims: &Value, wanted: &[String]) -> Result<Verified, TokenFault> {
        if object::field(claims, "iss") != self.issuer {
            return Err(TokenFault::Malformed);
        }
        let held: Vec<String> = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            _ => object::strings(claims, "aud").map(str::to_owned).collect(),
        };
        let audiences = shared(&held, wanted)?;
        let kubernetes = &claims["kubernetes.io"];
        let namespace = object::field(kubernetes, "namespace");
        let (account, uid) = reference(&kubernetes["serviceaccount"]);
        exists(store, "serviceaccounts", namespace, account, uid)?;
        let mut extra = BTreeMap::new();
        let mut say = |key: &str, value: &str| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        say("credential-id", &format!("JTI={}", object::field(claims, "jti")));
        if kubernetes["pod"].is_object() {
            let (name, uid) = reference(&kubernetes["pod"]);
            exists(store, "pods", namespace, name, uid)?;
            say("pod-name", name);
            say("pod-uid", uid);
        }
        if kubernetes["secret"].is_object() {
            let (name, uid) = reference(&kubernetes["secret"]);
            exists(store, "secrets", namespace, name, uid)?;
        }
        if kubernetes["node"].is_object() {
            let (name, uid) = reference(&kubernetes["node"]);
            say("node-name", name);
            say("node-uid", uid);
        }
        Ok(Verified { user: user(namespace, account, uid, extra), audiences })
    }

    fn verify_secret(
        &self,
        store: &Store,
        claims: &Value,
        wanted: &[String],
    ) -> Result<Verified, TokenFault> {
        let claim = |name: &str| object::field(claims, &format!("kubernetes.io/serviceaccount/{name}"));
        let audiences = shared(std::slice::from_ref(&self.issuer), wanted)?;
        let namespace = claim("namespace");
        let (account, uid) = (claim("service-account.name"), claim("service-account.uid"));
        exists(store, "serviceaccounts", namespace, account, uid)?;
        let secret =
            store.get("secrets", &Key::new(namespace, claim("secret.name"))).ok_or(TokenFault::Gone)?;
        if object::deleting(&secret)
            || object::annotation(&secret, "kubernetes.io/service-account.uid") != uid
        {
            return Err(TokenFault::Gone);
        }
        Ok(Verified { user: user(namespace, account, uid, BTreeMap::new()), audiences })
    }
}

fn reference(value: &Value) -> (&str, &str) {
    (object::field(value, "name"), object::field(value, "uid"))
}

fn shared(held: &[String], wanted: &[String]) -> Result<Vec<String>, TokenFault> {
    let both: Vec<String> = wanted.iter().filter(|a| held.contains(a)).cloned().collect();
    if both.is_empty() {
        return Err(TokenFault::Audience { token: held.to_vec(), target: wanted.to_vec() });
    }
    Ok(both)
}

/// Whether the very object a token is bound to still is there. One whose grace period has ended counts as gone.
fn exists(store: &Store, table: &str, namespace: &str, name: &str, uid: &str) -> Result<(), TokenFault> {
    let found = store.get(table, &Key::new(namespace, name)).ok_or(TokenFault::Gone)?;
    let ended = object::text(&found, "/metadata/deletionTimestamp")
        .parse::<jiff::Timestamp>()
        // Kubernetes lets a token outlive the grace period by a minute.
        .is_ok_and(|at| jiff::Timestamp::now().duration_since(at) > jiff::SignedDuration::from_secs(60));
    if object::uid(&found) != uid || ended { Err(TokenFault::Gone) } else { Ok(()) }
}

fn user(namespace: &str, account: &str, uid: &str, extra: BTreeMap<String, Vec<String>>) -> UserInfo {
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{account}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        extra,
    }
}
