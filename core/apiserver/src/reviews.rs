//! Kinds that are questions: token and access reviews, and the request for a token.

use crate::api::{Api, Target, check_type};
use crate::authn::{BoundTo, TokenFault};
use crate::error::{ApiError, FieldError};
use crate::object;
use crate::user::{Access, UserInfo};
use serde_json::{Value, json};

/// The shortest life a token can be asked for, in seconds.
const SHORTEST_TOKEN: i64 = 600;

/// Answers a create of a kind that is never stored.
pub(crate) fn answer(
    api: &Api,
    user: &UserInfo,
    target: &Target,
    mut body: Value,
) -> Result<Value, ApiError> {
    check_type(target, &mut body)?;
    check_question(target, &body)?;
    let status = match target.def.kind.as_str() {
        "TokenReview" => token_review(api, &body),
        "SelfSubjectReview" => json!({"userInfo": user_info(user)}),
        "SelfSubjectAccessReview" => access_status(api, user, &body["spec"]),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let subject = subject(target, &body["spec"])?;
            access_status(api, &subject, &body["spec"])
        }
        "SelfSubjectRulesReview" => {
            let namespace = object::text(&body, "/spec/namespace");
            let rules = api.authorizer.rbac(&api.store).rules_for(user, namespace);
            let (other, resource): (Vec<Value>, Vec<Value>) =
                rules.into_iter().partition(|r| !object::items(r, "/nonResourceURLs").is_empty());
            json!({"resourceRules": resource, "nonResourceRules": other, "incomplete": false})
        }
        _ => return Err(ApiError::MethodNotAllowed),
    };
    object::metadata_mut(&mut body);
    if target.def.kind == "SelfSubjectReview" {
        let now = object::time(jiff::Timestamp::now());
        object::metadata_mut(&mut body).insert("creationTimestamp".into(), now.into());
    }
    if target.def.kind == "SelfSubjectRulesReview" {
        body["spec"] = json!({});
    }
    body["status"] = status;
    Ok(body)
}

/// A review that asks nothing, or two things at once.
fn check_question(target: &Target, body: &Value) -> Result<(), ApiError> {
    let spec = &body["spec"];
    let refuse = |field: &str, value: Value, why: &str| {
        let kind = format!(".{}", target.def.group);
        let causes = vec![FieldError::invalid(field, &value, why)];
        Err(ApiError::Invalid { kind, name: String::new(), causes })
    };
    match target.def.kind.as_str() {
        "TokenReview" if object::field(spec, "token").is_empty() => {
            Err(ApiError::BadRequest("token is required for TokenReview in authentication".into()))
        }
        "SelfSubjectAccessReview" | "SubjectAccessReview" | "LocalSubjectAccessReview"
            if spec["resourceAttributes"].is_object() == spec["nonResourceAttributes"].is_object() =>
        {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            refuse("spec.resourceAttributes", Value::Null, why)
        }
        "LocalSubjectAccessReview"
            if object::text(spec, "/resourceAttributes/namespace") != target.namespace =>
        {
            let given = spec["resourceAttributes"]["namespace"].clone();
            refuse("spec.resourceAttributes.namespace", given, "must match metadata.namespace")
        }
        _ => Ok(()),
    }
}

/// `userInfo` as reviews and webhooks carry it.
pub(crate) fn user_info(user: &UserInfo) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn token_review(api: &Api, review: &Value) -> Value {
    let audiences: Vec<String> = object::strings(&review["spec"], "audiences").map(str::to_owned).collect();
    match api.tokens.verify(&api.store, object::text(review, "/spec/token"), &audiences) {
        Ok(verified) => json!({
            "authenticated": true,
            "user": user_info(&verified.user),
            "audiences": verified.audiences,
        }),
        Err(TokenFault::Malformed) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(fault) => json!({"user": {}, "error": format!("[{fault}]")}),
    }
}

fn subject(target: &Target, spec: &Value) -> Result<UserInfo, ApiError> {
    let name = object::field(spec, "user").to_owned();
    let groups: Vec<String> = object::strings(spec, "groups").map(str::to_owned).collect();
    if name.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        let kind = format!(".{}", target.def.group);
        let causes = vec![FieldError::invalid("spec.user", &json!(""), why)];
        return Err(ApiError::Invalid { kind, name: String::new(), causes });
    }
    Ok(UserInfo { name, uid: object::field(spec, "uid").to_owned(), groups, ..UserInfo::default() })
}

fn access_status(api: &Api, user: &UserInfo, spec: &Value) -> Value {
    let access = match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
        (Value::Object(_), _) => {
            let attributes = &spec["resourceAttributes"];
            let get = |name: &str| object::field(attributes, name).to_owned();
            Access {
                verb: get("verb"),
                group: get("group"),
                version: get("version"),
                resource: get("resource"),
                subresource: get("subresource"),
                namespace: get("namespace"),
                name: get("name"),
                path: String::new(),
            }
        }
        (_, attributes) => Access {
            verb: object::field(attributes, "verb").to_owned(),
            path: object::field(attributes, "path").to_owned(),
            ..Access::default()
        },
    };
    let decision = api.authorizer.rbac(&api.store).authorize(user, &access);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

/// `serviceaccounts/<name>/token`.
pub(crate) fn token_request(api: &Api, target: &Target, mut body: Value) -> Result<Value, ApiError> {
    let account = api.stored(&target.whole())?;
    if !body.is_object() {
        return Err(ApiError::BadRequest("a TokenRequest is expected".into()));
    }
    let seconds = match &body["spec"]["expirationSeconds"] {
        Value::Null => 3600,
        value => value.as_i64().filter(|s| *s >= SHORTEST_TOKEN).ok_or_else(|| {
            let why = "may not specify a duration less than 10 minutes";
            request_invalid(target, FieldError::invalid("spec.expirationSeconds", value, why))
        })?,
    };
    let audiences: Vec<String> = object::strings(&body["spec"], "audiences").map(str::to_owned).collect();
    let bound = match &body["spec"]["boundObjectRef"] {
        Value::Null => None,
        reference => Some(bound_object(api, target, reference)?),
    };
    let now = jiff::Timestamp::now();
    let (token, expires) = api.tokens.issue(&account, &audiences, seconds, bound.as_ref(), now);
    body["apiVersion"] = "authentication.k8s.io/v1".into();
    body["kind"] = "TokenRequest".into();
    let metadata = object::metadata_mut(&mut body);
    metadata.insert("name".into(), target.name.clone().into());
    metadata.insert("namespace".into(), target.namespace.clone().into());
    metadata.insert("creationTimestamp".into(), object::time(now).into());
    let own = vec![api.tokens.issuer().to_owned()];
    let spec = object::member_mut(&mut body, "spec");
    spec.insert("expirationSeconds".into(), json!(seconds));
    spec.insert("audiences".into(), json!(if audiences.is_empty() { own } else { audiences }));
    body["status"] = json!({"token": token, "expirationTimestamp": object::time(expires)});
    Ok(body)
}

fn request_invalid(target: &Target, cause: FieldError) -> ApiError {
    ApiError::Invalid {
        kind: "TokenRequest.authentication.k8s.io".into(),
        name: target.name.clone(),
        causes: vec![cause],
    }
}

fn bound_object(api: &Api, target: &Target, reference: &Value) -> Result<BoundTo, ApiError> {
    let (kind, name) = (object::field(reference, "kind"), object::field(reference, "name"));
    let (table, namespace) = match kind {
        "Pod" => ("pods", target.namespace.as_str()),
        "Secret" => ("secrets", target.namespace.as_str()),
        "Node" => ("nodes", ""),
        other => {
            let cause = FieldError::unsupported(
                "spec.boundObjectRef.kind",
                &json!(other),
                &["Pod", "Secret", "Node"],
            );
            return Err(request_invalid(target, cause));
        }
    };
    let found = api
        .peek(table, namespace, name)
        .ok_or_else(|| ApiError::NotFound { resource: table.into(), name: name.into() })?;
    let (wanted, uid) = (object::field(reference, "uid"), object::uid(&found));
    if !wanted.is_empty() && wanted != uid {
        return Err(ApiError::Conflict {
            resource: table.into(),
            name: name.into(),
            why: format!("the UID in the bound object reference ({wanted}) does not match the UID in record"),
        });
    }
    if kind == "Pod" && account_of(&found) != target.name {
        let why = format!(
            "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
            target.name
        );
        return Err(request_invalid(target, FieldError::forbidden("spec.boundObjectRef", why)));
    }
    let node_name = object::text(&found, "/spec/nodeName");
    let node = (kind == "Pod" && !node_name.is_empty()).then(|| {
        let uid = api.peek("nodes", "", node_name).map(|n| object::uid(&n).to_owned()).unwrap_or_default();
        (node_name.to_owned(), uid)
    });
    Ok(BoundTo { kind: kind.to_lowercase(), name: name.into(), uid: uid.into(), node })
}

fn account_of(pod: &Value) -> &str {
    match object::text(pod, "/spec/serviceAccountName") {
        "" => "default",
        name => name,
    }
}
