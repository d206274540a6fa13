//! Admission webhooks: which of the configured ones a request meets, in what order, and what they make of it.

mod call;
mod matching;
#[cfg(test)]
mod tests;

use crate::api::{Api, Target, Write};
use crate::error::ApiError;
use crate::object;
use crate::reviews::user_info;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Finds where a port of a Service can be reached from the server: namespace, name, port.
pub type ServiceResolver = Arc<dyn Fn(&str, &str, u16) -> Option<SocketAddr> + Send + Sync>;

const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

/// The webhook side of admission.
pub(crate) struct Webhooks {
    resolver: Option<ServiceResolver>,
}

/// What the mutating webhooks did.
#[derive(Debug, Default)]
pub(crate) struct Mutated {
    pub(crate) changed: bool,
    pub(crate) warnings: Vec<String>,
}

/// One request on its way through the webhooks.
struct Review<'a> {
    api: &'a Api,
    write: &'a Write<'a>,
    target: &'a Target,
    operation: &'a str,
}

/// A webhook's answer.
#[derive(Debug, Default)]
struct Verdict {
    patch: Option<Value>,
    warnings: Vec<String>,
}

impl Webhooks {
    pub(crate) fn new(resolver: Option<ServiceResolver>) -> Self {
        Self { resolver }
    }

    /// Lets every matching mutating webhook change the object, in order of configuration name.
    pub(crate) async fn mutate(
        &self,
        api: &Api,
        write: &Write<'_>,
        target: &Target,
        operation: &str,
        body: &mut Value,
        old: Option<&Value>,
    ) -> Result<Mutated, ApiError> {
        let mut outcome = Mutated::default();
        let review = Review { api, write, target, operation };
        for webhook in self.matching(&review, MUTATING, Some(body), old)? {
            let Some(verdict) = self.ask(&review, &webhook, Some(body), old).await? else { continue };
            outcome.warnings.extend(verdict.warnings);
            if let Some(patch) = verdict.patch {
                let patched = crate::patch::json_patch(body, &patch).map_err(|error| {
                    ApiError::Internal(format!(
                        "admission webhook \"{}\" sent a patch that does not apply: {error}",
                        object::field(&webhook, "name")
                    ))
                })?;
                outcome.changed |= patched != *body;
                *body = patched;
            }
        }
        if outcome.changed && operation == "CREATE" {
            // Containers that a webhook added need their token too.
            crate::strategy::admit_create(api, write, target, body)?;
        }
        Ok(outcome)
    }

    /// Lets every matching validating webhook refuse.
    pub(crate) async fn validate(
        &self,
        api: &Api,
        write: &Write<'_>,
        target: &Target,
        operation: &str,
        body: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Vec<String>, ApiError> {
        let mut warnings = Vec::new();
        let review = Review { api, write, target, operation };
        for webhook in self.matching(&review, VALIDATING, body, old)? {
            if let Some(verdict) = self.ask(&review, &webhook, body, old).await? {
                warnings.extend(verdict.warnings);
            }
        }
        Ok(warnings)
    }

    fn matching(
        &self,
        review: &Review<'_>,
        table: &str,
        body: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Vec<Value>, ApiError> {
        if review.target.def.group == "admissionregistration.k8s.io" {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for configuration in self.configurations(review, table) {
            for webhook in object::items(&configuration, "/webhooks") {
                if matching::applies(review, webhook, body, old)? {
                    found.push(webhook.clone());
                }
            }
        }
        Ok(found)
    }

    fn configurations(&self, review: &Review<'_>, table: &str) -> Vec<Arc<Value>> {
        review.api.store.list(table, None).objects
    }

    /// Calls one webhook. `None`: it could not be called and may be ignored.
    async fn ask(
        &self,
        review: &Review<'_>,
        webhook: &Value,
        body: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Verdict>, ApiError> {
        let name = object::field(webhook, "name");
        let request = admission_review(review, body, old);
        let resolve = |namespace: &str, name: &str, port: u16| match &self.resolver {
            Some(resolve) => resolve(namespace, name, port),
            None => crate::world::resolve(review.api, namespace, name, port),
        };
        match call::call(&resolve, webhook, &request).await {
            Ok(answer) => judge(name, request["request"]["uid"].as_str(), &answer).map(Some),
            Err(error) if object::field(webhook, "failurePolicy") == "Ignore" => {
                tracing::warn!(webhook = name, %error, "webhook failed, ignored as its policy says");
                Ok(None)
            }
            Err(error) => Err(ApiError::Internal(format!(
                "failed calling webhook \"{name}\": failed to call webhook: {error}"
            ))),
        }
    }
}

fn admission_review(review: &Review<'_>, body: Option<&Value>, old: Option<&Value>) -> Value {
    let target = review.target;
    let def = &target.def;
    let kind = json!({"group": def.group, "version": target.version, "kind": def.kind});
    let resource = json!({"group": def.group, "version": target.version, "resource": def.plural});
    let options = match review.operation {
        "CREATE" => "CreateOptions",
        "DELETE" => "DeleteOptions",
        _ => "UpdateOptions",
    };
    let mut request = json!({
        "uid": object::new_uid(), "kind": kind, "resource": resource,
        "requestKind": kind, "requestResource": resource,
        "name": target.name, "operation": review.operation,
        "userInfo": user_info(review.write.user),
        "object": body, "oldObject": old,
        "dryRun": review.write.options.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
    });
    let namespace =
        if def.kind == "Namespace" && def.group.is_empty() { &target.name } else { &target.namespace };
    if !namespace.is_empty() {
        request["namespace"] = namespace.clone().into();
    }
    if !target.subresource.is_empty() {
        request["subResource"] = target.subresource.clone().into();
        request["requestSubResource"] = target.subresource.clone().into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

fn judge(name: &str, uid: Option<&str>, answer: &Value) -> Result<Verdict, ApiError> {
    let broken = |why: &str| ApiError::Internal(format!("failed calling webhook \"{name}\": {why}"));
    let response = &answer["response"];
    if response["uid"].as_str() != uid {
        return Err(broken("received invalid webhook response: response.uid does not match the request's"));
    }
    let warnings = object::strings(response, "warnings").map(str::to_owned).collect();
    if response["allowed"] != true {
        let status = &response["status"];
        let message = match (object::field(status, "message"), object::field(status, "reason")) {
            ("", "") => "without explanation".to_owned(),
            ("", reason) => format!("the request: {reason}"),
            (message, _) => format!("the request: {message}"),
        };
        let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 400);
        return Err(ApiError::Status {
            code: code.unwrap_or(400),
            reason: object::field(status, "reason").to_owned(),
            message: format!("admission webhook \"{name}\" denied {message}"),
        });
    }
    let patch = match &response["patch"] {
        Value::Null => None,
        Value::String(encoded) => {
            let bytes = STANDARD.decode(encoded).map_err(|_| broken("response.patch is not base64"))?;
            Some(serde_json::from_slice(&bytes).map_err(|_| broken("response.patch is not JSON"))?)
        }
        _ => return Err(broken("response.patch is not a string")),
    };
    Ok(Verdict { patch, warnings })
}
