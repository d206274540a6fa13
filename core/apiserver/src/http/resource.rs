//! Requests for objects.

use super::accept::{Shape, negotiate};
use super::query::Query;
use super::route::Place;
use super::{Server, body, respond, watch};
use crate::admit::Strictness;
use crate::api::{
    DeleteOptions, Deleted, ListOptions, Listing, PatchKind, PatchRequest, Propagation, Target, WatchOptions,
    Write, WriteOptions,
};
use crate::error::{ApiError, FieldError};
use crate::object;
use crate::reviews;
use crate::selector::{FieldSelector, LabelSelector};
use crate::streams::{Body, RequestBody, StreamKind, json_response};
use crate::table::Include;
use crate::user::{Access, UserInfo};
use http::header::USER_AGENT;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// The shortest a watch lasts when the client does not say, in seconds; the longest is twice that.
const WATCH_SECONDS: u64 = 1800;
/// Media types of patches, as the real server lists them.
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
                           application/strategic-merge-patch+json, application/apply-patch+yaml";

/// One authorized request for objects.
pub(super) struct Call<'a> {
    pub(super) server: &'a Server,
    pub(super) user: &'a UserInfo,
    pub(super) place: Place,
    pub(super) query: Query,
    pub(super) access: &'a Access,
}

impl Call<'_> {
    pub(super) async fn run(self, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let target = self.target()?;
        if !target.subresource.is_empty() {
            return self.subresource(&target, request).await;
        }
        if !target.def.verbs.contains(&self.access.verb.as_str()) {
            return Err(ApiError::MethodNotAllowed);
        }
        if !target.def.stored() {
            let (head, body) = request.into_parts();
            let body = body::object(&head.headers, body).await?;
            let answer = reviews::answer(&self.server.api, self.user, &target, body)?;
            return Ok(json_response(StatusCode::CREATED, &answer));
        }
        match self.access.verb.as_str() {
            "get" => self.get(&target, request.headers()),
            "list" => self.list(&target, request.headers()),
            "watch" => self.watch(&target, request.headers()),
            "create" => self.create(&target, request).await,
            "update" => self.update(&target, request).await,
            "patch" => self.patch(&target, request).await,
            "delete" => self.delete(&target, request).await,
            _ => self.delete_collection(&target, request).await,
        }
    }

    fn target(&self) -> Result<Target, ApiError> {
        let place = &self.place;
        let registry = &self.server.api.registry;
        let def =
            registry.find(&place.group, &place.version, &place.plural).ok_or(ApiError::NoSuchResource)?;
        if !def.namespaced && !place.namespace.is_empty() {
            return Err(ApiError::NoSuchResource);
        }
        if def.namespaced && place.namespace.is_empty() && !place.name.is_empty() {
            return Err(ApiError::NoSuchResource);
        }
        let target = Target {
            def,
            version: place.version.clone(),
            namespace: place.namespace.clone(),
            name: place.name.clone(),
            subresource: place.subresource.clone(),
        };
        if !place.subresource.is_empty() && !target.serves(&place.subresource) {
            return Err(ApiError::NoSuchResource);
        }
        Ok(target)
    }

    fn include(&self) -> Include {
        match self.query.get("includeObject") {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        }
    }

    fn get(&self, target: &Target, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let object = self.server.api.get(target, self.query.get("resourceVersion"))?;
        let response = respond::one(target, &object, negotiate(headers)?, self.include(), StatusCode::OK);
        Ok(respond::deprecated(target, response))
    }

    fn list_options(&self, target: &Target) -> Result<ListOptions, ApiError> {
        let (labels, fields) = self.selectors(target)?;
        let limit = self.query.number("limit")?.unwrap_or(0);
        Ok(ListOptions {
            labels,
            fields,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: self.query.get("continue").to_owned(),
            resource_version: self.query.get("resourceVersion").to_owned(),
            version_match: self.query.get("resourceVersionMatch").to_owned(),
        })
    }

    fn selectors(&self, target: &Target) -> Result<(LabelSelector, FieldSelector), ApiError> {
        let fields = FieldSelector::parse(self.query.get("fieldSelector"))?;
        fields.check(&target.def, &target.version)?;
        Ok((LabelSelector::parse(self.query.get("labelSelector"))?, fields))
    }

    fn list(&self, target: &Target, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let shape = negotiate(headers)?;
        let listing = self.server.api.list(target, &self.list_options(target)?)?;
        Ok(respond::deprecated(target, respond::list(target, &listing, shape, self.include())))
    }

    fn watch(&self, target: &Target, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let shape = negotiate(headers)?;
        let (labels, fields) = self.selectors(target)?;
        let bookmarks = self.query.flag("allowWatchBookmarks") == Some(true);
        let options = WatchOptions {
            labels,
            fields,
            resource_version: self.query.get("resourceVersion").to_owned(),
            version_match: self.query.get("resourceVersionMatch").to_owned(),
            send_initial: self.query.flag("sendInitialEvents"),
        };
        let timeout = match self.query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()) {
            Some(seconds) if seconds > 0 => seconds,
            _ => rand::random_range(WATCH_SECONDS..WATCH_SECONDS * 2),
        };
        let settings = watch::Settings {
            shape,
            include: self.include(),
            bookmarks,
            timeout: Duration::from_secs(timeout),
            stop: self.server.stop.clone(),
        };
        match self.server.api.watch(target, &options) {
            Ok(start) => Ok(watch::respond(target, start, settings)),
            Err(error @ ApiError::Expired(_)) => Ok(watch::refuse(&error)),
            Err(error) => Err(error),
        }
    }

    fn write_options(&self, headers: &HeaderMap, apply: bool) -> Result<WriteOptions, ApiError> {
        let dry_run = self.dry_run()?;
        let strictness = match self.query.get("fieldValidation") {
            "Strict" => Strictness::Strict,
            "Ignore" => Strictness::Ignore,
            "" | "Warn" => Strictness::Warn,
            other => {
                let known = ["", "Ignore", "Strict", "Warn"];
                let cause = FieldError::unsupported("fieldValidation", &json!(other), &known);
                return Err(self.option_invalid(cause));
            }
        };
        let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let manager = match self.query.get("fieldManager") {
            "" if apply => String::new(),
            "" => agent.split('/').next().unwrap_or_default().to_owned(),
            manager => manager.to_owned(),
        };
        Ok(WriteOptions { dry_run, manager, strictness })
    }

    async fn create(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        if !target.name.is_empty() {
            return Err(ApiError::MethodNotAllowed);
        }
        let shape = negotiate(request.headers())?;
        let options = self.write_options(request.headers(), false)?;
        let (head, body) = request.into_parts();
        let object = body::object(&head.headers, body).await?;
        let write = Write { user: self.user, options: &options };
        let written = self.server.api.create(&write, target, object).await?;
        Ok(respond::written(target, &written, shape))
    }

    async fn update(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let shape = negotiate(request.headers())?;
        let options = self.write_options(request.headers(), false)?;
        let (head, body) = request.into_parts();
        let object = body::object(&head.headers, body).await?;
        let write = Write { user: self.user, options: &options };
        let written = self.server.api.update(&write, target, object).await?;
        Ok(respond::written(target, &written, shape))
    }

    async fn patch(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let shape = negotiate(request.headers())?;
        let force = self.query.flag("force") == Some(true);
        let kind = match body::media_type(request.headers()) {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" => PatchKind::Strategic,
            "application/apply-patch+yaml" => PatchKind::Apply { force },
            other => {
                return Err(ApiError::UnsupportedMediaType(format!(
                    "the body of the request was in an unknown format ({other}) - accepted media types include: \
                     {PATCH_TYPES}"
                )));
            }
        };
        let apply = matches!(kind, PatchKind::Apply { .. });
        if force && !apply {
            let why = "may not be specified for non-apply patch";
            return Err(self.option_invalid(FieldError::forbidden("force", why)));
        }
        let options = self.write_options(request.headers(), apply)?;
        let bytes = body::bytes(request.into_body()).await?;
        let body = if apply { body::yaml(&bytes)? } else { body::json(&bytes)? };
        let write = Write { user: self.user, options: &options };
        let written = self.server.api.patch(&write, target, &PatchRequest { kind, body }).await?;
        Ok(respond::written(target, &written, shape))
    }

    async fn delete_options(&self, request: Request<RequestBody>) -> Result<DeleteOptions, ApiError> {
        let (head, body) = request.into_parts();
        let body = body::optional(&head.headers, body).await?;
        let text = |name: &str| match object::field(&body, name) {
            "" => self.query.get(name).to_owned(),
            value => value.to_owned(),
        };
        let propagation = match text("propagationPolicy").as_str() {
            "Orphan" => Propagation::Orphan,
            "Foreground" => Propagation::Foreground,
            "" if body["orphanDependents"] == true || self.query.flag("orphanDependents") == Some(true) => {
                Propagation::Orphan
            }
            "" | "Background" => Propagation::Background,
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                let cause = FieldError::unsupported("propagationPolicy", &json!(other), &known);
                return Err(self.option_invalid(cause));
            }
        };
        let grace = match body["gracePeriodSeconds"].as_i64() {
            Some(grace) => Some(grace),
            None => self.query.number("gracePeriodSeconds")?,
        };
        let precondition = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        let in_body = object::strings(&body, "dryRun").any(|v| v == "All");
        Ok(DeleteOptions {
            grace_period_seconds: grace,
            propagation,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: in_body || self.dry_run()?,
        })
    }

    async fn delete(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let options = self.delete_options(request).await?;
        let shared = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let write = Write { user: self.user, options: &shared };
        let outcome = self.server.api.delete(&write, target, &options).await?;
        Ok(respond::deleted(target, &outcome))
    }

    async fn delete_collection(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let list = self.list_options(target)?;
        let options = self.delete_options(request).await?;
        let shared = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let write = Write { user: self.user, options: &shared };
        let deleted = self.server.api.delete_collection(&write, target, &list, &options).await?;
        let listing = Listing {
            items: deleted,
            revision: self.server.api.store.revision(),
            continue_token: String::new(),
            remaining: None,
        };
        Ok(respond::list(target, &listing, Shape::Object, Include::None))
    }

    async fn subresource(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let stream = match target.subresource.as_str() {
            "log" => Some(StreamKind::Log),
            "exec" => Some(StreamKind::Exec),
            "attach" => Some(StreamKind::Attach),
            "portforward" => Some(StreamKind::PortForward),
            _ => None,
        };
        if let Some(kind) = stream {
            let pod = self.server.api.stored(&target.whole())?;
            let streams = self.server.pod_streams.as_ref().ok_or_else(|| {
                ApiError::BadRequest("no node runs pods here, so that there is nothing to stream from".into())
            })?;
            return Ok(streams.serve(kind, pod, request).await);
        }
        let method = request.method().clone();
        match (target.subresource.as_str(), method) {
            ("scale", Method::GET) => Ok(json_response(StatusCode::OK, &self.server.api.scale(target)?)),
            (_, Method::GET) => self.get(target, request.headers()),
            (_, Method::PUT) => self.update(target, request).await,
            ("status" | "scale", Method::PATCH) => self.patch(target, request).await,
            ("token", Method::POST) => {
                let (head, body) = request.into_parts();
                let body = body::object(&head.headers, body).await?;
                let answer = reviews::token_request(&self.server.api, target, body)?;
                Ok(json_response(StatusCode::CREATED, &answer))
            }
            ("eviction", Method::POST) => self.evict(target, request).await,
            ("binding", Method::POST) => self.bind(target, request).await,
            _ => Err(ApiError::MethodNotAllowed),
        }
    }

    async fn evict(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let (head, body) = request.into_parts();
        let eviction = body::object(&head.headers, body).await?;
        let pod = target.whole();
        let given = &eviction["deleteOptions"];
        let options = DeleteOptions {
            grace_period_seconds: given["gracePeriodSeconds"].as_i64(),
            uid: given["preconditions"]["uid"].as_str().map(str::to_owned),
            dry_run: self.dry_run()?,
            ..DeleteOptions::default()
        };
        crate::evict::check(&self.server.api, &pod)?;
        let shared = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let write = Write { user: self.user, options: &shared };
        match self.server.api.delete(&write, &pod, &options).await? {
            Deleted::Going(_) | Deleted::Gone(_) => {
                let status: Value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                Ok(json_response(StatusCode::CREATED, &status))
            }
        }
    }

    /// What a scheduler asks for: that a node runs the pod.
    async fn bind(&self, target: &Target, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let options = self.write_options(request.headers(), false)?;
        let (head, body) = request.into_parts();
        let binding = body::object(&head.headers, body).await?;
        let node = object::text(&binding, "/target/name").to_owned();
        if node.is_empty() {
            return Err(target.whole().invalid(vec![FieldError::required("target.name", "")]));
        }
        let patch = PatchRequest { kind: PatchKind::Merge, body: json!({"spec": {"nodeName": node}}) };
        let write = Write { user: self.user, options: &options };
        self.server.api.patch(&write, &target.whole(), &patch).await?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(json_response(StatusCode::CREATED, &status))
    }

    fn dry_run(&self) -> Result<bool, ApiError> {
        match self.query.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(self.option_invalid(FieldError::unsupported("dryRun", &json!([other]), &["All"]))),
        }
    }

    /// An option of the request that makes no sense: the options are an object too, of a kind by the verb.
    fn option_invalid(&self, cause: FieldError) -> ApiError {
        let kind = match self.access.verb.as_str() {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "DeleteOptions",
        };
        ApiError::Invalid { kind: format!("{kind}.meta.k8s.io"), name: String::new(), causes: vec![cause] }
    }
}
