//! An AdmissionReview in, an AdmissionReview out, and what is to be recorded about it.

use super::owner;
use super::state::State;
use crate::decide::SkipReason;
use crate::inject::{Injection, Workload, inject, patch};
use crate::overlay::Annotations;
use crate::pod::annotations_of;
use crate::service::opaque_ports_of_service;
use base64::Engine;
use mesh_kube::EventKind;
use mesh_kube::k8s_openapi::api::core::v1::ObjectReference;
use mesh_types::annotations::{INJECT, OPAQUE_PORTS};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::{info, warn};

/// Why a review cannot be answered; the API server then follows its failure policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
    Malformed(&'static str),
    #[error("the configuration is not known yet")]
    NotReady,
}

/// An answer, and events to record once it is sent.
pub(super) struct Answer {
    pub(super) review: Value,
    pub(super) events: Vec<Record>,
}

/// An event to record.
pub(super) struct Record {
    about: ObjectReference,
    kind: EventKind,
    reason: &'static str,
    message: String,
}

struct Request<'r> {
    uid: &'r str,
    kind: &'r str,
    namespace: &'r str,
    object: &'r Value,
    dry_run: bool,
}

impl<'r> Request<'r> {
    fn parse(review: &'r Value) -> Result<Self, Refusal> {
        let text = |value: &'r Value, pointer: &str, missing: &'static str| {
            value.pointer(pointer).and_then(Value::as_str).ok_or(Refusal::Malformed(missing))
        };
        if review.get("apiVersion").and_then(Value::as_str) != Some("admission.k8s.io/v1") {
            return Err(Refusal::Malformed("wrong apiVersion"));
        }
        let request = review.get("request").ok_or(Refusal::Malformed("no request"))?;
        Ok(Self {
            uid: text(request, "/uid", "no request.uid")?,
            kind: text(request, "/kind/kind", "no request.kind.kind")?,
            namespace: request.get("namespace").and_then(Value::as_str).unwrap_or_default(),
            object: request.get("object").ok_or(Refusal::Malformed("no request.object"))?,
            dry_run: request.get("dryRun") == Some(&Value::Bool(true)),
        })
    }
}

/// Answers a review.
pub(super) async fn answer(state: &State, review: &Value) -> Result<Answer, Refusal> {
    let request = Request::parse(review)?;
    state.count_request(request.kind, request.namespace);
    let values = state.values().ok_or(Refusal::NotReady)?;
    let namespace = state.annotations(request.namespace).await.ok_or(Refusal::NotReady)?;
    match request.kind {
        "Pod" => Ok(pod(state, &request, &values, namespace).await),
        "Service" => {
            let (found, warning) =
                opaque_ports_of_service(request.object, &namespace, &values.proxy.opaque_ports);
            let after = found.map(|ports| {
                let mut after = request.object.clone();
                after["metadata"]["annotations"][OPAQUE_PORTS] = json!(ports);
                after
            });
            state.count_response("Service", request.namespace, None);
            let warnings: Vec<String> = warning.iter().map(ToString::to_string).collect();
            let review = allow(&request, after.as_ref(), &warnings);
            Ok(Answer { review, events: Vec::new() })
        }
        kind => {
            state.count_response(kind, request.namespace, Some("unsupported_resource"));
            Ok(Answer { review: allow(&request, None, &[]), events: Vec::new() })
        }
    }
}

async fn pod(
    state: &State,
    request: &Request<'_>,
    values: &crate::Values,
    namespace: Arc<Annotations>,
) -> Answer {
    let found = owner::find(&state.client, request.namespace, request.object).await;
    let workload = Workload {
        namespace: request.namespace,
        namespace_annotations: &namespace,
        owner: found.owner.as_ref(),
        control_plane_namespace: &state.namespace,
        created_by: &format!("isthmus/proxy-injector {}", values.version()),
    };
    let owner = found.owner.as_ref().map_or("pod".to_owned(), |o| format!("{}/{}", o.kind, o.name));
    let owner_kind = found.owner.as_ref().map_or("Pod", |o| o.kind.as_str());
    let mut notes = Vec::new();
    let review = match inject(request.object, &workload, values) {
        Injection::Injected(after, warnings) => {
            info!(namespace = request.namespace, owner, "injected");
            state.count_response(owner_kind, request.namespace, None);
            notes.push((EventKind::Normal, "Injected", "Linkerd sidecar proxy injected".to_owned()));
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            let named = warnings.iter().map(|w| (EventKind::Warning, "AnnotationIgnored", w.clone()));
            notes.extend(named);
            allow(request, Some(&after), &warnings)
        }
        Injection::Skipped(reason) => {
            info!(namespace = request.namespace, owner, reason = reason.as_str(), "not injected");
            state.count_response(owner_kind, request.namespace, Some(reason.as_str()));
            let message = format!("Linkerd sidecar proxy injection skipped: {}", reason.explain());
            // Whoever asked for what is not done should hear of it at once, even for a pod without an owner.
            let surprising = reason.is_mistake()
                || reason == SkipReason::HostNetwork && is_asked_for(request.object, &namespace);
            let warnings = if surprising { vec![message.clone()] } else { Vec::new() };
            let kind = if surprising { EventKind::Warning } else { EventKind::Normal };
            notes.push((kind, "InjectionSkipped", message));
            allow(request, None, &warnings)
        }
    };
    let about = found.reference.filter(|_| !request.dry_run);
    let events = about.map(|about| {
        let record = |(kind, reason, message)| Record { about: about.clone(), kind, reason, message };
        notes.into_iter().map(record).collect()
    });
    Answer { review, events: events.unwrap_or_default() }
}

/// Whether the pod, or its namespace for it, asks for injection.
fn is_asked_for(pod: &Value, namespace: &Annotations) -> bool {
    let own = annotations_of(pod);
    let asked = own.get(INJECT).or_else(|| namespace.get(INJECT)).map(String::as_str);
    matches!(asked, Some("enabled" | "ingress"))
}

fn allow(request: &Request<'_>, after: Option<&Value>, warnings: &[String]) -> Value {
    let mut response = json!({"uid": request.uid, "allowed": true});
    if let Some(after) = after {
        let patch = json!(patch(request.object, after)).to_string();
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(patch));
    }
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

/// Records what is worth telling the owner.
pub(super) async fn record(state: Arc<State>, events: Vec<Record>) {
    for Record { about, kind, reason, message } in events {
        if let Err(error) = state.events.record_on(about, kind, reason, &message).await {
            warn!(reason, %error, "event not recorded");
        }
    }
}
