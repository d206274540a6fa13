//! `Certify`: checks in the order that clients of the API know, then signs.

use crate::issuer::Issuer;
use crate::review::{ReviewError, review};
use crate::{Config, Notice};
use mesh_api::identity::identity_server::Identity as Api;
use mesh_api::identity::{CertifyRequest, CertifyResponse};
use mesh_api::tonic::{Code, Request, Response, Status, async_trait};
use mesh_kube::{Client, EventKind};
use mesh_metrics::{CounterFamily, Labels};
use mesh_tls::{Authority, CsrError, verify_csr};
use mesh_types::Identity;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tracing::{info, warn};

pub(crate) struct Service {
    config: Config,
    client: Client,
    issuer: Arc<Mutex<Issuer>>,
    requests: CounterFamily,
    events: mpsc::Sender<Notice>,
}

impl Service {
    pub(crate) fn new(
        config: Config,
        client: Client,
        issuer: Arc<Mutex<Issuer>>,
        requests: CounterFamily,
        events: mpsc::Sender<Notice>,
    ) -> Self {
        Self { config, client, issuer, requests, events }
    }

    async fn answer(&self, request: CertifyRequest) -> Result<CertifyResponse, Status> {
        let issuer = self.issuer()?;
        let name: Identity =
            request.identity.parse().map_err(|e| Status::invalid_argument(format!("identity: {e}")))?;
        let token = std::str::from_utf8(&request.token).unwrap_or_default().trim();
        if token.is_empty() {
            return Err(Status::invalid_argument("token: empty or not text"));
        }
        let csr = &request.certificate_signing_request;
        match verify_csr(csr, &name) {
            Ok(()) => {}
            Err(error @ CsrError::Malformed(_)) => return Err(Status::invalid_argument(error.to_string())),
            Err(error) => return Err(Status::failed_precondition(error.to_string())),
        }
        self.still_valid()?;
        let Config { controller_namespace, trust_domain, issuance_lifetime, clock_skew_allowance, .. } =
            &self.config;
        let bearer = review(self.client.clone(), token, controller_namespace, trust_domain)
            .await
            .map_err(token_status)?;
        if bearer.to_string() != name.as_str() {
            let text = format!("the token belongs to {bearer}, the request is for {name}");
            return Err(Status::failed_precondition(text));
        }
        let leaf = issuer
            .sign_csr(csr, &name, *issuance_lifetime, *clock_skew_allowance)
            .map_err(|e| Status::internal(e.to_string()))?;
        info!(identity = %name, "certificate issued");
        Ok(CertifyResponse {
            leaf_certificate: leaf.leaf_der,
            intermediate_certificates: leaf.intermediates_der,
            valid_until: Some(timestamp(leaf.not_after)),
        })
    }

    fn issuer(&self) -> Result<Arc<Authority>, Status> {
        let issuer = self.issuer.lock();
        issuer.current().ok_or_else(|| {
            let why = issuer.refused().unwrap_or("waiting for the issuer Secret and the trust anchors");
            Status::unavailable(format!("no issuer is in force: {why}"))
        })
    }

    /// The issuer in force may have expired, or the anchors changed under it, since it was taken.
    fn still_valid(&self) -> Result<(), Status> {
        let Some(Err(reason)) = self.issuer.lock().validate() else { return Ok(()) };
        let notice =
            Notice { kind: EventKind::Warning, reason: "IssuerValidationFailed", message: reason.clone() };
        if self.events.try_send(notice).is_err() {
            warn!("too many events at once, one is not written");
        }
        Err(Status::unavailable(format!("the issuer does not verify: {reason}")))
    }
}

fn token_status(error: ReviewError) -> Status {
    match error {
        ReviewError::NotAuthenticated(_) => Status::failed_precondition(error.to_string()),
        ReviewError::NotServiceAccount(_) => Status::invalid_argument(error.to_string()),
        ReviewError::Unreachable(_) => Status::unavailable(error.to_string()),
    }
}

fn timestamp(at: SystemTime) -> mesh_api::prost_types::Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    mesh_api::prost_types::Timestamp { seconds, nanos: 0 }
}

#[async_trait]
impl Api for Service {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let request = request.into_inner();
        let identity = request.identity.clone();
        let answer = self.answer(request).await;
        let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        self.requests.get(&Labels::new().with("code", format!("{code:?}"))).inc();
        if let Err(status) = &answer {
            warn!(identity, code = ?status.code(), reason = status.message(), "certificate refused");
        }
        answer.map(Response::new)
    }
}
