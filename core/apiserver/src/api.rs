//! What the server does, apart from HTTP: every read and write goes through here, whether it came over TLS or from a
//! client in the same process, and meets the same admission, validation and bookkeeping.

mod create;
mod delete;
mod lifecycle;
mod patch;
mod read;
mod scale;
mod update;

pub use delete::{DeleteOptions, Propagation};
pub(crate) use delete::{Deleted, FOREGROUND, ORPHAN};
pub use patch::PatchKind;
pub(crate) use patch::PatchRequest;
pub(crate) use read::{ListOptions, Listing, WatchOptions, WatchStart, too_old};

use crate::admission::Webhooks;
use crate::admit::Strictness;
use crate::allocate::Allocator;
use crate::authn::Tokens;
use crate::authz::Authorizer;
use crate::collect::Work;
use crate::error::ApiError;
use crate::object;
use crate::resource::{Registry, ResourceDef};
use crate::store::{Key, Store};
use crate::user::UserInfo;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;

/// How often a write that lost a race is computed anew.
const ATTEMPTS: usize = 8;

/// The served state of one cluster and the rules for changing it.
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Registry,
    pub(crate) webhooks: Webhooks,
    pub(crate) allocator: Allocator,
    pub(crate) tokens: Tokens,
    pub(crate) authorizer: Authorizer,
    pub(crate) ca_pem: String,
    /// To the collector: owners deleted, namespaces terminating.
    pub(crate) work: mpsc::UnboundedSender<Work>,
    /// Bumped when the set of served resources changes; what caches of discovery and OpenAPI are keyed by.
    pub(crate) generation: AtomicU64,
}

/// What a request is about.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) def: Arc<ResourceDef>,
    pub(crate) version: String,
    /// Empty for cluster scope or all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

impl Target {
    /// Table the objects are kept in. Events are one set under two groups.
    pub(crate) fn table(&self) -> String {
        table_of(&self.def)
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The whole object rather than a subresource of it.
    pub(crate) fn whole(&self) -> Self {
        Self { subresource: String::new(), ..self.clone() }
    }

    /// Whether this version has a subresource.
    pub(crate) fn serves(&self, subresource: &str) -> bool {
        match (&self.def.custom, subresource) {
            (Some(crd), "status") => crd.has_status(&self.version),
            (Some(crd), "scale") => crd.scale(&self.version).is_some(),
            _ => self.def.has_subresource(subresource),
        }
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::NotFound { resource: self.def.qualified(), name: self.name.clone() }
    }

    pub(crate) fn conflict(&self, why: impl Into<String>) -> ApiError {
        ApiError::Conflict { resource: self.def.qualified(), name: self.name.clone(), why: why.into() }
    }

    pub(crate) fn modified(&self) -> ApiError {
        self.conflict(
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn forbidden(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::ForbiddenAt {
            resource: self.def.qualified(),
            name: self.name.clone(),
            message: format!("{} \"{}\" is forbidden: {why}", self.def.qualified(), self.name),
            causes: Vec::new(),
        }
    }

    pub(crate) fn invalid(&self, causes: Vec<crate::error::FieldError>) -> ApiError {
        let kind = if self.def.group.is_empty() {
            self.def.kind.clone()
        } else {
            format!("{}.{}", self.def.kind, self.def.group)
        };
        ApiError::Invalid { kind, name: self.name.clone(), causes }
    }

    pub(crate) fn api_version(&self) -> String {
        self.def.api_version(&self.version)
    }
}

/// Table of a resource.
pub(crate) fn table_of(def: &ResourceDef) -> String {
    if def.group == "events.k8s.io" { "events".into() } else { def.qualified() }
}

/// Options every write shares.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) strictness: Strictness,
}

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Write<'a> {
    pub(crate) user: &'a UserInfo,
    pub(crate) options: &'a WriteOptions,
}

/// Outcome of a write.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) created: bool,
}

impl Api {
    /// The stored object, under its storage version.
    pub(crate) fn stored(&self, target: &Target) -> Result<Arc<Value>, ApiError> {
        self.store.get(&target.table(), &target.key()).ok_or_else(|| target.not_found())
    }

    /// An object by `plural.group`, namespace and name, under its storage version.
    pub(crate) fn peek(&self, table: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store.get(table, &Key::new(namespace, name))
    }

    /// A target for something of our own, under its storage version.
    pub(crate) fn target(&self, table: &str, namespace: &str, name: &str) -> Result<Target, ApiError> {
        let (plural, group) = table.split_once('.').unwrap_or((table, ""));
        let def = self.registry.by_plural(group, plural).ok_or(ApiError::NoSuchResource)?;
        let version = def.storage_version.clone();
        Ok(Target {
            def,
            version,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        })
    }

    /// An object as asked for: under the version of the request, in the shape of the group.
    pub(crate) fn presented(&self, target: &Target, stored: &Arc<Value>) -> Arc<Value> {
        crate::convert::present(&target.def, &target.version, stored)
    }

    pub(crate) fn served_changed(&self) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Checks `kind` and `apiVersion` of a body against where it was sent, filling in what is missing.
pub(crate) fn check_type(target: &Target, body: &mut Value) -> Result<(), ApiError> {
    if !body.is_object() {
        return Err(ApiError::BadRequest(
            "the object provided is unrecognized (must be of type object): a JSON object is expected".into(),
        ));
    }
    let api_version = target.api_version();
    let (kind, given) = (object::field(body, "kind"), object::field(body, "apiVersion"));
    if (!kind.is_empty() && kind != target.def.kind) || (!given.is_empty() && given != api_version) {
        return Err(ApiError::BadRequest(format!(
            "the API version in the data ({given}, Kind={kind}) does not match the expected API version \
             ({api_version}, Kind={})",
            target.def.kind
        )));
    }
    // The built-in kinds are decoded into what the path says; custom ones must say it themselves.
    for (field, value) in [("Kind", kind), ("apiVersion", given)] {
        if target.def.custom.is_some() && value.is_empty() {
            return Err(ApiError::BadRequest(format!(
                "the object provided is unrecognized (must be of type {}): Object '{field}' is missing",
                target.def.kind
            )));
        }
    }
    body["kind"] = target.def.kind.clone().into();
    body["apiVersion"] = api_version.into();
    Ok(())
}
