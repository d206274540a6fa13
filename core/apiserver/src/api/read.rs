//! Get, list and watch.

use super::{Api, Target};
use crate::convert;
use crate::error::{ApiError, FieldError};
use crate::object;
use crate::selector::{FieldSelector, LabelSelector};
use crate::store::{Compacted, Feed, Filter};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::Arc;

/// Which objects, how many, and as of when.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    /// 0 is no limit.
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub(crate) version_match: String,
}

/// A page of objects, in the version asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) items: Vec<Arc<Value>>,
    pub(crate) revision: u64,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
}

/// Which changes, from when on.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchOptions {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) resource_version: String,
    pub(crate) version_match: String,
    pub(crate) send_initial: Option<bool>,
}

/// A watch about to begin.
pub(crate) struct WatchStart {
    /// Objects to send as added, in storage version.
    pub(crate) initial: Vec<Arc<Value>>,
    /// Whether a bookmark marks their end.
    pub(crate) marks_end: bool,
    pub(crate) feed: Feed,
}

impl Api {
    pub(crate) fn get(&self, target: &Target, resource_version: &str) -> Result<Arc<Value>, ApiError> {
        self.not_older_than(resource_version)?;
        let stored = self.stored(target)?;
        Ok(self.presented(target, &stored))
    }

    pub(crate) fn list(&self, target: &Target, options: &ListOptions) -> Result<Listing, ApiError> {
        let table = target.table();
        let namespace = (!target.namespace.is_empty()).then_some(target.namespace.as_str());
        let (snapshot, after) = if !options.continue_token.is_empty() {
            let (revision, after) = read_token(&options.continue_token)?;
            (self.store.list_at(&table, namespace, revision).map_err(|_| continue_expired())?, Some(after))
        } else if !options.version_match.is_empty() && options.resource_version.is_empty() {
            return Err(forbidden_option("resourceVersionMatch", "resourceVersion"));
        } else if options.version_match == "Exact" {
            let revision = revision_of(&options.resource_version)?;
            (self.store.list_at(&table, namespace, revision).map_err(|c| too_old(revision, &c))?, None)
        } else {
            self.not_older_than(&options.resource_version)?;
            (self.store.list(&table, namespace), None)
        };
        let filter = filter(target, &options.labels, &options.fields);
        let mut matching = snapshot
            .objects
            .iter()
            .filter(|o| after.as_ref().is_none_or(|(ns, n)| place(o) > (ns.as_str(), n.as_str())))
            .filter(|o| filter(o));
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let page: Vec<&Arc<Value>> = matching.by_ref().take(limit).collect();
        let left = matching.count();
        let continue_token = match page.last() {
            Some(last) if left > 0 => token(snapshot.revision, last),
            _ => String::new(),
        };
        let selected = !options.labels.is_empty() || !options.fields.is_empty();
        let items = page.into_iter().map(|o| self.presented(target, o)).collect();
        let remaining = (left > 0 && !selected).then_some(left);
        Ok(Listing { items, revision: snapshot.revision, continue_token, remaining })
    }

    pub(crate) fn watch(&self, target: &Target, options: &WatchOptions) -> Result<WatchStart, ApiError> {
        let initial_wanted = options.send_initial == Some(true);
        if initial_wanted && options.version_match != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(list_options_invalid(FieldError::forbidden("resourceVersionMatch", why)));
        }
        if options.send_initial.is_none() && !options.version_match.is_empty() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(list_options_invalid(FieldError::forbidden("resourceVersionMatch", why)));
        }
        let table = target.table();
        let namespace = (!target.namespace.is_empty()).then_some(target.namespace.as_str());
        let filter = filter(target, &options.labels, &options.fields);
        let from_now = options.resource_version.is_empty() || options.resource_version == "0";
        // The real server does not take it for the client's mistake.
        let unreadable = |error: ApiError| ApiError::Status {
            code: 500,
            reason: String::new(),
            message: error.to_string(),
        };
        let asked = if from_now { 0 } else { revision_of(&options.resource_version).map_err(unreadable)? };
        if initial_wanted || (from_now && options.send_initial.is_none()) {
            self.not_older_than(&options.resource_version)?;
            let (initial, feed) = Feed::from_now(self.store.clone(), &table, namespace, filter);
            return Ok(WatchStart { initial, marks_end: initial_wanted, feed });
        }
        let current = self.store.revision();
        if asked > current {
            // The state the client saw is not ours: the store has been lost since. It must list again.
            return Err(ApiError::Expired(format!("too old resource version: {asked} ({current})")));
        }
        let revision = if from_now { current } else { asked };
        let feed = Feed::resume(self.store.clone(), &table, filter, revision);
        Ok(WatchStart { initial: Vec::new(), marks_end: false, feed })
    }

    fn not_older_than(&self, resource_version: &str) -> Result<(), ApiError> {
        if resource_version.is_empty() {
            return Ok(());
        }
        let asked = revision_of(resource_version)?;
        let current = self.store.revision();
        if asked > current {
            return Err(ApiError::Timeout(format!(
                "Timeout: Too large resource version: {asked}, current: {current}"
            )));
        }
        Ok(())
    }
}

fn forbidden_option(option: &str, without: &str) -> ApiError {
    list_options_invalid(FieldError::forbidden(
        option,
        format!("{option} is forbidden unless {without} is provided"),
    ))
}

fn list_options_invalid(cause: FieldError) -> ApiError {
    ApiError::Invalid { kind: "ListOptions.meta.k8s.io".into(), name: String::new(), causes: vec![cause] }
}

/// The 410 of a watch or exact list whose revision is compacted.
pub(crate) fn too_old(asked: u64, compacted: &Compacted) -> ApiError {
    ApiError::Expired(format!("too old resource version: {asked} ({})", compacted.oldest))
}

fn continue_expired() -> ApiError {
    ApiError::Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter."
            .into(),
    )
}

pub(crate) fn revision_of(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        let why = "strconv.ParseUint: parsing: invalid syntax";
        ApiError::BadRequest(format!("invalid resource version \"{text}\": {why}"))
    })
}

fn place(object: &Value) -> (&str, &str) {
    (object::namespace(object), object::name(object))
}

fn token(revision: u64, last: &Value) -> String {
    let (namespace, name) = place(last);
    URL_SAFE_NO_PAD
        .encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "after": [namespace, name]}).to_string())
}

fn read_token(token: &str) -> Result<(u64, (String, String)), ApiError> {
    let bad = || ApiError::BadRequest("continue key is not valid".into());
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let revision = value["rv"].as_u64().ok_or_else(bad)?;
    let part = |i: usize| value["after"][i].as_str().map(str::to_owned).ok_or_else(bad);
    Ok((revision, (part(0)?, part(1)?)))
}

fn filter(target: &Target, labels: &LabelSelector, fields: &FieldSelector) -> Filter {
    let (target, labels, fields) = (target.clone(), labels.clone(), fields.clone());
    Box::new(move |stored| {
        (target.namespace.is_empty() || object::namespace(stored) == target.namespace)
            && (target.name.is_empty() || object::name(stored) == target.name)
            && labels.matches(stored)
            && (fields.is_empty() || fields.matches(&convert::view(&target.def, &target.version, stored)))
    })
}
