//! The injector's certificate, as the API server sees it.

use super::Context;
use super::identity::{expires_soon, not_valid};
use super::outcome::{Category, Verdict};
use mesh_injector::webhook::{CERTIFICATE_SECRET, WEBHOOK_CONFIGURATION};
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::core::v1::Secret;
use mesh_kube::kube::Api;
use mesh_tls::{CertificateInfo, TrustBundle, certificate_info};
use std::time::SystemTime;

/// The injector renews at two thirds of 90 days, so less than this left means that it does not.
const RENEWED_WITH_DAYS_LEFT: u64 = 20;

/// Whether the API server can call the injector.
pub(super) async fn webhook(context: &Context) -> Category {
    let mut category = Category::new("linkerd-webhooks-and-apisvc-tls");
    let ns = &context.namespace;
    let fix = format!(
        "the injector keeps it by itself; restart it:  kubectl -n {ns} rollout restart deploy/linkerd-proxy-injector"
    );
    let now = SystemTime::now();
    let (why, info) = match certificate(context).await {
        Ok(info) => (not_valid(&info, now), Some(info)),
        Err(why) => (Some(why), None),
    };
    category.add(
        "l5d-proxy-injector-webhook-cert-valid",
        "proxy-injector webhook has valid cert",
        Verdict::error_if(why, fix.as_str()),
    );
    if let Some(info) = info {
        let left = info.not_after.duration_since(now).unwrap_or_default();
        let why = expires_soon(&info, now).filter(|_| left.as_secs() / 86_400 < RENEWED_WITH_DAYS_LEFT);
        category.add(
            "l5d-proxy-injector-webhook-cert-not-expiring-soon",
            "proxy-injector cert is renewed in time",
            Verdict::warning_if(why, fix),
        );
    }
    category
}

async fn certificate(context: &Context) -> Result<CertificateInfo, String> {
    let ns = &context.namespace;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), ns);
    let secret = secrets.get_opt(CERTIFICATE_SECRET).await.map_err(|e| mesh_kube::explain(&e))?;
    let pem = secret.and_then(|s| s.data?.remove("tls.crt"));
    let pem = pem.ok_or_else(|| format!("Secret {ns}/{CERTIFICATE_SECRET} has no tls.crt"))?;
    let info = certificate_info(&pem.0).map_err(|e| e.to_string())?;
    let name = format!("linkerd-proxy-injector.{ns}.svc");
    if !info.dns_names.contains(&name) {
        return Err(format!("the certificate is for {}, not for {name}", info.dns_names.join(", ")));
    }
    let api: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
    let configuration = api.get_opt(WEBHOOK_CONFIGURATION).await.map_err(|e| mesh_kube::explain(&e))?;
    let webhooks = configuration.and_then(|c| c.webhooks).unwrap_or_default();
    let webhook = webhooks.first().ok_or_else(|| format!("{WEBHOOK_CONFIGURATION} has no webhook"))?;
    let bundle = webhook.client_config.ca_bundle.as_ref();
    let bundle = bundle.ok_or_else(|| format!("{WEBHOOK_CONFIGURATION} has no caBundle"))?;
    let bundle = TrustBundle::from_pem(&String::from_utf8_lossy(&bundle.0)).map_err(|e| e.to_string())?;
    let issuers = bundle.certs().iter().filter_map(|c| certificate_info(c).ok());
    match issuers.map(|i| i.subject).any(|subject| subject == info.issuer) {
        true => Ok(info),
        false => Err(format!("the caBundle of {WEBHOOK_CONFIGURATION} is not that of the certificate")),
    }
}
