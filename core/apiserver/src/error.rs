//! The crate's error, which is also what goes over the wire: a Kubernetes `Status`.

use http::StatusCode;
use serde_json::{Value, json};

/// What was wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Kubernetes cause: `FieldValueInvalid`, `FieldValueRequired`, `FieldValueNotSupported`, `FieldValueDuplicate`,
    /// `FieldValueForbidden`, `FieldValueTooLong`, `FieldManagerConflict`.
    pub reason: &'static str,
    /// Path of the field, as in `spec.ports[0].port`.
    pub field: String,
    /// What is wrong with it, in kubectl's words: `Invalid value: 0: must be between 1 and 65535, inclusive`.
    pub message: String,
}

impl FieldError {
    /// `Invalid value: <value>: <why>`.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl std::fmt::Display) -> Self {
        let message = format!("Invalid value: {value}: {why}");
        Self { reason: "FieldValueInvalid", field: field.into(), message }
    }

    /// `Required value: <why>`.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// `Forbidden: <why>`.
    pub fn forbidden(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {why}") }
    }

    /// `Unsupported value: <value>: supported values: …`.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        let message = format!("Unsupported value: {value}: supported values: {list}");
        Self { reason: "FieldValueNotSupported", field: field.into(), message }
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message: format!("Duplicate value: {value}"),
        }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// Why a request failed. Every variant has a fixed HTTP code and `Status.reason`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// 404 for a named object. `resource` is `plural.group`.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// `plural.group`.
        resource: String,
        /// Object name.
        name: String,
    },
    /// 404 for a path nothing is served at.
    #[error("the server could not find the requested resource")]
    NoSuchResource,
    /// 409 on create.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists {
        /// `plural.group`.
        resource: String,
        /// Object name.
        name: String,
    },
    /// 409 on update.
    #[error("Operation cannot be fulfilled on {resource} \"{name}\": {why}")]
    Conflict {
        /// `plural.group`.
        resource: String,
        /// Object name.
        name: String,
        /// Why, usually that the object has been modified.
        why: String,
    },
    /// 409 from server-side apply: the fields others own.
    #[error("Apply failed with {} conflict{}: {}", .0.len(), if .0.len() == 1 { "" } else { "s" }, join(.0))]
    ApplyConflict(Vec<FieldError>),
    /// 422.
    #[error("{kind} \"{name}\" is invalid: {}", bracketed(.causes))]
    Invalid {
        /// `Kind.group`.
        kind: String,
        /// Object name.
        name: String,
        /// Every field that is wrong.
        causes: Vec<FieldError>,
    },
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 401.
    #[error("Unauthorized")]
    Unauthorized,
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 403 at a resource, and at an object of it if one was named.
    #[error("{message}")]
    ForbiddenAt {
        /// `plural.group`, or empty.
        resource: String,
        /// Object name, or empty.
        name: String,
        /// Why, in whole.
        message: String,
        /// What a client may react to, as that a namespace is going.
        causes: Vec<FieldError>,
    },
    /// 405.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// 415.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 410: the revision asked for is gone.
    #[error("{0}")]
    Expired(String),
    /// 429, as when a disruption budget forbids an eviction.
    #[error("{0}")]
    TooManyRequests(String),
    /// 500, as when a webhook cannot be called.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// 504: the request's own timeout, or a resourceVersion in the future.
    #[error("{0}")]
    Timeout(String),
    /// A ready-made `Status`, as a webhook's own refusal.
    #[error("{message}")]
    Status {
        /// HTTP code.
        code: u16,
        /// `Status.reason`.
        reason: String,
        /// `Status.message`.
        message: String,
    },
}

/// One conflict in a line; several by manager, a line for each field.
fn join(causes: &[FieldError]) -> String {
    if let [only] = causes {
        return format!("{}: {}", only.message, only.field);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = "";
    for cause in causes {
        if cause.message != last {
            lines.push(format!("{}:", cause.message.replacen("conflict with", "conflicts with", 1)));
            last = &cause.message;
        }
        lines.push(format!("- {}", cause.field));
    }
    lines.join("\n")
}

fn bracketed(causes: &[FieldError]) -> String {
    match causes {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl ApiError {
    /// HTTP status code.
    pub fn code(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::NoSuchResource => StatusCode::NOT_FOUND,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict(_) => {
                StatusCode::CONFLICT
            }
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::ForbiddenAt { .. } => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Expired(_) => StatusCode::GONE,
            Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Status { code, .. } => {
                StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// `Status.reason`.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotFound { .. } | Self::NoSuchResource => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict(_) => "Conflict",
            Self::Invalid { .. } => "Invalid",
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden(_) | Self::ForbiddenAt { .. } => "Forbidden",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::Expired(_) => "Expired",
            Self::TooManyRequests(_) => "TooManyRequests",
            Self::Internal(_) => "InternalError",
            Self::Timeout(_) => "Timeout",
            Self::Status { reason, .. } => reason,
        }
    }

    /// The `Status` object sent to clients.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "code": self.code().as_u16(),
        });
        if !self.reason().is_empty() {
            status["reason"] = self.reason().into();
        }
        if let Some(details) = self.details() {
            status["details"] = details;
        }
        status
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. } => Some(details(resource, name, &[])),
            Self::ForbiddenAt { resource, name, causes, .. } => Some(details(resource, name, causes)),
            Self::Invalid { kind, name, causes } => Some(details(kind, name, causes)),
            Self::ApplyConflict(causes) => Some(details("", "", causes)),
            Self::NoSuchResource | Self::MethodNotAllowed | Self::NotAcceptable => Some(json!({})),
            _ => None,
        }
    }
}

/// Without what is empty, as the real server leaves it out.
fn details(qualified: &str, name: &str, causes: &[FieldError]) -> Value {
    let (kind, group) = qualified.split_once('.').unwrap_or((qualified, ""));
    let mut details = json!({});
    for (field, value) in [("name", name), ("kind", kind), ("group", group)] {
        if !value.is_empty() {
            details[field] = value.into();
        }
    }
    if !causes.is_empty() {
        details["causes"] = wire(causes).into();
    }
    details
}

fn wire(causes: &[FieldError]) -> Vec<Value> {
    causes.iter().map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field})).collect()
}
