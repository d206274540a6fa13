//! The injector's certificate, and whether pods are injected, as the API server sees it.

use super::identity::{expires_soon, not_valid};
use super::outcome::{Category, Verdict};
use super::{Context, until_well};
use crate::injector_ready::{self, TRIAL_NAMESPACE, Trial};
use mesh_injector::webhook::{CERTIFICATE_SECRET, WEBHOOK_CONFIGURATION};
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::core::v1::Secret;
use mesh_kube::k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{self, Api};
use mesh_tls::{CertificateInfo, TrustBundle, certificate_info};
use mesh_types::labels;
use std::cell::Cell;
use std::time::SystemTime;

/// The injector renews at two thirds of 90 days, so less than this left means that it does not.
const RENEWED_WITH_DAYS_LEFT: u64 = 20;

/// The Service of the injector, and its Deployment.
const SERVICE: &str = "linkerd-proxy-injector";

/// How the name of the webhook begins that is asked about pods which need a proxy.
const REQUIRED: &str = "linkerd-proxy-injector-required.";

/// Whether the API server can call the injector.
pub(super) async fn webhook(context: &Context) -> Category {
    let mut category = Category::new("linkerd-webhooks-and-apisvc-tls");
    let ns = &context.namespace;
    let fix = format!(
        "the injector keeps it by itself; restart it:  kubectl -n {ns} rollout restart deploy/linkerd-proxy-injector"
    );
    let now = SystemTime::now();
    let configuration = match configuration(context).await {
        // That it is missing has been told.
        Ok(None) => return category,
        Ok(Some(configuration)) => configuration,
        Err(error) => {
            let verdict = Verdict::unanswered(&error);
            category.add(
                "l5d-proxy-injector-webhook-cert-valid",
                "proxy-injector webhook has valid cert",
                verdict,
            );
            return category;
        }
    };
    let (why, info) = match certificate(context, &configuration).await {
        Ok(info) => (not_valid(&info, now), Some(info)),
        Err(why) => (Some(why), None),
    };
    let certified = category.add(
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
    let verdict = endpoints(context, &configuration).await;
    let has_endpoints =
        category.add("l5d-proxy-injector-webhook-endpoints", "proxy-injector webhook has endpoints", verdict);
    if certified
        && has_endpoints
        && let Some(verdict) = injects(context, &configuration).await
    {
        category.add("l5d-proxy-injector-webhook-injects", "a pod gets a proxy (dry run)", verdict);
    }
    category
}

/// Whether a pod that is created gets a proxy, where that can be tried. A new injector is known to the nodes a moment after it
/// is ready.
async fn injects(context: &Context, configuration: &MutatingWebhookConfiguration) -> Option<Verdict> {
    let last = Cell::new(Trial::Unknown);
    let _ = until_well(context, || async {
        let trial = injector_ready::try_it(&context.client).await;
        let refused = matches!(trial, Trial::Refused(_));
        last.set(trial);
        refused.then_some(())
    })
    .await;
    let verdict = match last.into_inner() {
        Trial::Unknown => return None,
        Trial::Injected => Verdict::Good,
        Trial::Refused(why) => Verdict::Error(
            why,
            "let the API server reach port 8443 of the injector's pods: firewalls of managed control planes often allow 443 \
             and 10250 only"
                .to_owned(),
        ),
        // It would have been refused, so it is one that the injector is not asked about.
        Trial::LetThrough if requires(configuration) => return None,
        Trial::LetThrough => Verdict::Warning(
            format!("a pod of the namespace {TRIAL_NAMESPACE} that asks for a proxy gets none"),
            "see whether the API server reaches port 8443 of the injector's pods; a newer control plane tells:  meshctl upgrade \
             | kubectl apply -f -"
                .to_owned(),
        ),
    };
    Some(verdict)
}

/// Whether pods can say that they are not to start without a proxy.
fn requires(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.webhooks.iter().flatten().any(|webhook| webhook.name.starts_with(REQUIRED))
}

/// Whether there is somebody to ask, and what it means if not.
async fn endpoints(context: &Context, configuration: &MutatingWebhookConfiguration) -> Verdict {
    let ns = &context.namespace;
    let slices: Api<EndpointSlice> = Api::namespaced(context.client.clone(), ns);
    let of_service = ListParams::default().labels(&format!("{}={SERVICE}", labels::SERVICE_NAME));
    let ready = match slices.list(&of_service).await {
        Err(error) => return Verdict::unanswered(&error),
        Ok(list) => {
            let all = list.items.into_iter().flat_map(|s| s.endpoints);
            all.filter(|e| e.conditions.as_ref().is_none_or(|c| c.ready != Some(false))).count()
        }
    };
    if ready > 0 {
        return Verdict::Good;
    }
    let first = configuration.webhooks.as_ref().and_then(|w| w.first());
    let effect = match first.and_then(|w| w.failure_policy.as_deref()) {
        Some("Ignore") => "pods start without a proxy, and gateways not at all",
        _ => "no pod can start outside the excluded namespaces",
    };
    Verdict::Error(
        format!("Service {ns}/{SERVICE} has no ready endpoint: {effect}"),
        format!(
            "look at it:  kubectl -n {ns} describe deploy/{SERVICE}   (to let pods start meanwhile:  meshctl upgrade --set \
             webhookFailurePolicy=Ignore | kubectl apply -f -)"
        ),
    )
}

async fn configuration(context: &Context) -> Result<Option<MutatingWebhookConfiguration>, kube::Error> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
    api.get_opt(WEBHOOK_CONFIGURATION).await
}

async fn certificate(
    context: &Context,
    configuration: &MutatingWebhookConfiguration,
) -> Result<CertificateInfo, String> {
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
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    if webhooks.is_empty() {
        return Err(format!("{WEBHOOK_CONFIGURATION} has no webhook"));
    }
    for webhook in webhooks {
        let bundle = webhook.client_config.ca_bundle.as_ref();
        let bundle =
            bundle.ok_or_else(|| format!("{} of {WEBHOOK_CONFIGURATION} has no caBundle", webhook.name))?;
        let bundle = TrustBundle::from_pem(&String::from_utf8_lossy(&bundle.0)).map_err(|e| e.to_string())?;
        let mut issuers = bundle.certs().iter().filter_map(|c| certificate_info(c).ok());
        if !issuers.any(|issuer| issuer.subject == info.issuer) {
            return Err(format!(
                "the caBundle of {} in {WEBHOOK_CONFIGURATION} is not that of the certificate",
                webhook.name
            ));
        }
    }
    Ok(info)
}
