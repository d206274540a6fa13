//! The webhook's certificate: made here, kept in a Secret, renewed at two thirds of its life, and announced to the API
//! server in the webhook configuration. Replicas share the Secret; whoever writes first wins and the others follow.

use super::{CERTIFICATE_SECRET, COMPONENT, WEBHOOK_CONFIGURATION};
use crate::Error;
use base64::Engine;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::ByteString;
use mesh_kube::k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use mesh_kube::k8s_openapi::api::core::v1::Secret;
use mesh_kube::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_kube::kube::Api;
use mesh_kube::kube::api::{Patch, PatchParams, PostParams};
use mesh_tls::{Authority, PemPair, TlsAcceptor, TrustBundle, certificate_info, server_acceptor};
use mesh_types::labels;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tracing::{info, warn};

/// Lifetime of certificate and authority. Nobody has to think of it, so it need not be long.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often Secret and webhook configuration are looked at.
const PERIOD: Duration = Duration::from_secs(20);
/// After a failure.
const RETRY: Duration = Duration::from_millis(500);

/// The certificate in force, for the listener.
#[derive(Clone)]
pub(super) struct Acceptor(watch::Receiver<Option<TlsAcceptor>>);

impl Acceptor {
    /// Waits until the API server has been told of a certificate.
    pub(super) async fn ready(&self) {
        let mut receiver = self.0.clone();
        // The sender lives as long as the process.
        let _ = receiver.wait_for(Option::is_some).await;
    }

    /// The acceptor of this moment.
    pub(super) fn current(&self) -> Option<TlsAcceptor> {
        self.0.borrow().clone()
    }
}

/// A certificate as the Secret holds it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pair: PemPair,
    /// Its authority, and the one before it while that may still be in use.
    ca_bundle: String,
    renew_at: SystemTime,
}

impl Certificate {
    /// A new certificate for the webhook of `namespace`; `previous` stays trusted.
    fn issue(namespace: &str, previous: Option<&Self>) -> Result<Self, Error> {
        let name = format!("{COMPONENT}.{namespace}.svc");
        let authority = Authority::new_root(&name, LIFETIME)?;
        let pair = authority.issue_server(&[&name], &[], LIFETIME)?;
        let before = previous.and_then(|c| c.ca_bundle.split_inclusive("-----END CERTIFICATE-----\n").next());
        let ca_bundle = format!("{}{}", authority.cert_pem(), before.unwrap_or_default());
        Self::of(pair, ca_bundle)
    }

    fn of(pair: PemPair, ca_bundle: String) -> Result<Self, Error> {
        // Both prove that the texts can be used.
        TrustBundle::from_pem(&ca_bundle)?;
        server_acceptor(&pair, None, &[])?;
        let info = certificate_info(pair.cert_pem.as_bytes())?;
        let life = info.not_after.duration_since(info.not_before).unwrap_or_default();
        Ok(Self { pair, ca_bundle, renew_at: info.not_before + life * 2 / 3 })
    }

    fn from_secret(secret: &Secret) -> Result<Self, Error> {
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|d| d.get(key));
            let text = bytes.and_then(|b| String::from_utf8(b.0.clone()).ok());
            text.ok_or_else(|| Error::Content(format!("Secret {CERTIFICATE_SECRET} has no {key}")))
        };
        Self::of(PemPair { cert_pem: text("tls.crt")?, key_pem: text("tls.key")? }, text("ca.crt")?)
    }

    fn to_secret(&self, namespace: &str) -> Secret {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        Secret {
            metadata: ObjectMeta {
                name: Some(CERTIFICATE_SECRET.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([
                    (labels::CONTROL_PLANE_COMPONENT.to_owned(), "proxy-injector".to_owned()),
                    (labels::CONTROL_PLANE_NS.to_owned(), namespace.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(BTreeMap::from([
                ("ca.crt".to_owned(), bytes(&self.ca_bundle)),
                ("tls.crt".to_owned(), bytes(&self.pair.cert_pem)),
                ("tls.key".to_owned(), bytes(&self.pair.key_pem)),
            ])),
            ..Secret::default()
        }
    }
}

/// Keeps Secret, webhook configuration and listener together.
pub(super) struct Keeper {
    client: Client,
    namespace: String,
    sender: watch::Sender<Option<TlsAcceptor>>,
    in_force: Option<String>,
}

impl Keeper {
    pub(super) fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, sender: watch::Sender::new(None), in_force: None }
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor(self.sender.subscribe())
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.reconcile(SystemTime::now()).await {
                Ok(()) => PERIOD,
                Err(error) => {
                    warn!(%error, "webhook certificate not in force, will be tried again");
                    RETRY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One round: read or renew the Secret, tell the API server, serve with it.
    async fn reconcile(&mut self, now: SystemTime) -> Result<(), Error> {
        let certificate = self.secret(now).await?;
        self.announce(&certificate.ca_bundle).await?;
        // Only now: a server must not use what its clients do not trust yet.
        if self.in_force.as_deref() != Some(certificate.pair.cert_pem.as_str()) {
            let acceptor = server_acceptor(&certificate.pair, None, &[b"h2", b"http/1.1"])?;
            self.sender.send_replace(Some(acceptor));
            info!("webhook certificate in force");
            self.in_force = Some(certificate.pair.cert_pem);
        }
        Ok(())
    }

    async fn secret(&self, now: SystemTime) -> Result<Certificate, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(CERTIFICATE_SECRET).await.map_err(Error::kubernetes("read the Secret"))?;
        let Some(secret) = found else {
            let certificate = Certificate::issue(&self.namespace, None)?;
            let made = api.create(&PostParams::default(), &certificate.to_secret(&self.namespace)).await;
            info!("webhook certificate made");
            return made.map(|_| certificate).map_err(Error::kubernetes("create the Secret"));
        };
        let known = Certificate::from_secret(&secret);
        match &known {
            Ok(certificate) if now < certificate.renew_at => return known,
            Ok(_) => info!("webhook certificate is renewed"),
            Err(reason) => warn!(%reason, "webhook certificate is unusable and made anew"),
        }
        let certificate = Certificate::issue(&self.namespace, known.as_ref().ok())?;
        let mut next = certificate.to_secret(&self.namespace);
        // With the version read, so that of two replicas one loses and takes the other's certificate.
        next.metadata.resource_version = secret.metadata.resource_version;
        let written = api.replace(CERTIFICATE_SECRET, &PostParams::default(), &next).await;
        written.map(|_| certificate).map_err(Error::kubernetes("replace the Secret"))
    }

    /// Writes the bundle into every webhook of the configuration that lacks it.
    async fn announce(&self, ca_bundle: &str) -> Result<(), Error> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let read = api.get(WEBHOOK_CONFIGURATION).await;
        let configuration = read.map_err(Error::kubernetes("read the webhook configuration"))?;
        let wanted = ByteString(ca_bundle.as_bytes().to_vec());
        let webhooks = configuration.webhooks.unwrap_or_default();
        let mut operations: Vec<Value> = Vec::new();
        for (i, webhook) in webhooks.iter().enumerate() {
            if webhook.client_config.ca_bundle.as_ref() != Some(&wanted) {
                let encoded = base64::engine::general_purpose::STANDARD.encode(ca_bundle);
                operations.push(
                    json!({"op": "test", "path": format!("/webhooks/{i}/name"), "value": webhook.name}),
                );
                operations.push(json!({
                    "op": "add", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": encoded,
                }));
            }
        }
        if operations.is_empty() {
            return Ok(());
        }
        let patch: json_patch::Patch =
            serde_json::from_value(Value::Array(operations)).map_err(|e| Error::Content(e.to_string()))?;
        let patched =
            api.patch(WEBHOOK_CONFIGURATION, &PatchParams::default(), &Patch::Json::<()>(patch)).await;
        patched.map_err(Error::kubernetes("patch the webhook configuration"))?;
        info!("caBundle written to the webhook configuration");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
