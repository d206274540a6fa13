//! Reads issuer and anchors out of the objects that hold them.

use crate::{Error, ISSUER_SECRET, TRUST_ROOTS, TRUST_ROOTS_KEY};
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_tls::{PemPair, TrustBundle};
use std::str::FromStr;

/// Which keys of the Secret hold the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `linkerd.io/tls`: `crt.pem` and `key.pem`.
    #[default]
    Linkerd,
    /// `kubernetes.io/tls`, as cert-manager writes it: `tls.crt` and `tls.key`.
    Kubernetes,
}

impl Scheme {
    const fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Linkerd => ("crt.pem", "key.pem"),
            Self::Kubernetes => ("tls.crt", "tls.key"),
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "linkerd.io/tls" => Ok(Self::Linkerd),
            "kubernetes.io/tls" => Ok(Self::Kubernetes),
            _ => Err(format!("identity scheme {s:?} must be linkerd.io/tls or kubernetes.io/tls")),
        }
    }
}

/// The issuer in a Secret: by the scheme's keys, or by the other scheme's where those are absent.
pub(crate) fn material_of(secret: &Secret, scheme: Scheme) -> Result<PemPair, Error> {
    let other = if scheme == Scheme::Linkerd { Scheme::Kubernetes } else { Scheme::Linkerd };
    let has = |s: Scheme| {
        let (cert, key) = s.keys();
        secret.data.as_ref().is_some_and(|data| data.contains_key(cert) && data.contains_key(key))
    };
    let (cert, key) = if !has(scheme) && has(other) { other.keys() } else { scheme.keys() };
    Ok(PemPair { cert_pem: text(secret, cert)?, key_pem: text(secret, key)? })
}

fn text(secret: &Secret, key: &str) -> Result<String, Error> {
    let problem = |reason: String| Error::Material { object: format!("Secret {ISSUER_SECRET}"), reason };
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).ok_or_else(|| {
        problem(format!("has no {key}; it must hold crt.pem and key.pem, or tls.crt and tls.key"))
    })?;
    String::from_utf8(bytes.0.clone()).map_err(|_| problem(format!("{key} is not PEM text")))
}

/// The anchors in a ConfigMap.
pub(crate) fn bundle_of(map: &ConfigMap) -> Result<TrustBundle, Error> {
    let problem = |reason: String| Error::Material { object: format!("ConfigMap {TRUST_ROOTS}"), reason };
    let pem = map
        .data
        .as_ref()
        .and_then(|data| data.get(TRUST_ROOTS_KEY))
        .ok_or_else(|| problem(format!("has no {TRUST_ROOTS_KEY}")))?;
    TrustBundle::from_pem(pem).map_err(|e| problem(format!("{TRUST_ROOTS_KEY}: {e}")))
}
