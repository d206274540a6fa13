//! Trust anchors and issuer.

use super::Context;
use super::outcome::{Category, Verdict};
use mesh_kube::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::Api;
use mesh_tls::{Authority, CertificateInfo, TrustBundle, certificate_info};
use std::time::{Duration, SystemTime};

/// Less than this left is worth a warning.
const SOON: Duration = Duration::from_secs(60 * 24 * 3600);

const RENEW_ISSUER: &str = "renew it:  meshctl upgrade --identity-issuer-certificate-file … \
     --identity-issuer-key-file … | kubectl apply -f -";
const RENEW_ANCHOR: &str = "make a new one (meshctl trust init) and give a bundle of the old and the new:  \
     meshctl upgrade --identity-trust-anchors-file … | kubectl apply -f -";

/// Whether identity can work, now and for some time.
pub(super) async fn identity(context: &Context) -> Category {
    let mut category = Category::new("linkerd-identity");
    let (bundle, issuer) = match read(context).await {
        Ok(found) => {
            category.add("l5d-identity-cert-config-valid", "certificate config is valid", Verdict::Good);
            found
        }
        Err((why, fix)) => {
            let verdict = Verdict::Error(why, fix.to_owned());
            category.add("l5d-identity-cert-config-valid", "certificate config is valid", verdict);
            return category;
        }
    };
    let now = SystemTime::now();
    let anchors: Vec<CertificateInfo> =
        bundle.certs().iter().filter_map(|c| certificate_info(c).ok()).collect();
    let crypto = first(&anchors, weak);
    category.add(
        "l5d-identity-trustAnchors-use-supported-crypto",
        "trust anchors are using supported crypto algorithm",
        Verdict::error_if(crypto, RENEW_ANCHOR),
    );
    let valid = first(&anchors, |c| not_valid(c, now));
    category.add(
        "l5d-identity-trustAnchors-are-time-valid",
        "trust anchors are within their validity period",
        Verdict::error_if(valid, RENEW_ANCHOR),
    );
    let soon = first(&anchors, |c| expires_soon(c, now));
    category.add(
        "l5d-identity-trustAnchors-not-expiring-soon",
        "trust anchors are valid for at least 60 days",
        Verdict::warning_if(soon, RENEW_ANCHOR),
    );
    issuer_checks(&mut category, &issuer, &bundle, now);
    category
}

fn issuer_checks(category: &mut Category, issuer: &Authority, bundle: &TrustBundle, now: SystemTime) {
    let info = issuer.info();
    category.add(
        "l5d-identity-issuer-cert-uses-supported-crypto",
        "issuer cert is using supported crypto algorithm",
        Verdict::error_if(weak(info), RENEW_ISSUER),
    );
    category.add(
        "l5d-identity-issuer-cert-is-time-valid",
        "issuer cert is within its validity period",
        Verdict::error_if(not_valid(info, now), RENEW_ISSUER),
    );
    // What is over has been told, and fails everything that follows.
    if not_valid(info, now).is_some() {
        return;
    }
    category.add(
        "l5d-identity-issuer-cert-not-expiring-soon",
        "issuer cert is valid for at least 60 days",
        Verdict::warning_if(expires_soon(info, now), RENEW_ISSUER),
    );
    let why = issuer.verify(bundle).err().map(|e| e.to_string());
    category.add(
        "l5d-identity-issuer-cert-issued-by-trust-anchor",
        "issuer cert is issued by the trust anchor",
        Verdict::error_if(why, RENEW_ISSUER),
    );
}

/// Bundle and issuer, or what is wrong and what to do.
async fn read(context: &Context) -> Result<(TrustBundle, Authority), (String, &'static str)> {
    const PUT_BACK: &str = "put it back:  meshctl upgrade | kubectl apply -f -";
    let ns = &context.namespace;
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), ns);
    let unanswered = |e: mesh_kube::kube::Error| (mesh_kube::explain(&e), "check what your account may read");
    let map = maps.get_opt("linkerd-identity-trust-roots").await.map_err(unanswered)?;
    let pem = map.and_then(|m| m.data?.remove("ca-bundle.crt"));
    let pem = pem.ok_or_else(|| {
        (format!("ConfigMap {ns}/linkerd-identity-trust-roots has no ca-bundle.crt"), PUT_BACK)
    })?;
    let bundle = TrustBundle::from_pem(&pem).map_err(|e| (e.to_string(), RENEW_ANCHOR))?;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), ns);
    let secret = secrets.get_opt("linkerd-identity-issuer").await.map_err(unanswered)?;
    let mut data = secret.and_then(|s| s.data).unwrap_or_default();
    // The two forms of the Secret.
    let mut text = |names: [&str; 2]| {
        let bytes = names.iter().find_map(|n| data.remove(*n));
        bytes.and_then(|b| String::from_utf8(b.0).ok())
    };
    let pair = text(["crt.pem", "tls.crt"]).zip(text(["key.pem", "tls.key"]));
    let (cert, key) = pair.ok_or_else(|| {
        (format!("Secret {ns}/linkerd-identity-issuer has no certificate and key"), RENEW_ISSUER)
    })?;
    let issuer = Authority::from_pem(&cert, &key).map_err(|e| (e.to_string(), RENEW_ISSUER))?;
    Ok((bundle, issuer))
}

fn first(all: &[CertificateInfo], wrong: impl Fn(&CertificateInfo) -> Option<String>) -> Option<String> {
    all.iter().find_map(wrong)
}

fn weak(info: &CertificateInfo) -> Option<String> {
    let known = ["ECDSA P-256", "RSA 2048", "RSA 4096"].contains(&info.key_algorithm.as_str());
    (!known).then(|| format!("{} uses {}; ECDSA P-256 is expected", info.subject, info.key_algorithm))
}

pub(super) fn not_valid(info: &CertificateInfo, now: SystemTime) -> Option<String> {
    if now < info.not_before {
        return Some(format!("{} is valid only from {}", info.subject, date(info.not_before)));
    }
    (now >= info.not_after).then(|| format!("{} expired at {}", info.subject, date(info.not_after)))
}

pub(super) fn expires_soon(info: &CertificateInfo, now: SystemTime) -> Option<String> {
    // What is over does not expire any more.
    let left = info.not_after.duration_since(now).ok()?;
    let (days, hours) = (left.as_secs() / 86_400, left.as_secs() / 3600 % 24);
    (left < SOON)
        .then(|| format!("{} expires in {days} d {hours} h ({})", info.subject, date(info.not_after)))
}

fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |t| t.strftime("%F %H:%M UTC").to_string())
}
