//! A client in the server's own process: no TLS, no serialisation, but the same authorization, admission and validation
//! as over HTTPS.

use crate::api::{
    Api, DeleteOptions, ListOptions, PatchKind, PatchRequest, Target, WatchOptions, Write, WriteOptions,
};
use crate::error::ApiError;
use crate::object;
use crate::selector::{FieldSelector, LabelSelector};
use crate::store::ChangeKind;
use crate::user::{Access, UserInfo};
use futures::Stream;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Which objects of a resource.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Namespace; empty is all of them, or cluster scope.
    pub namespace: String,
    /// As in `app=web,tier!=db`; empty selects all.
    pub labels: String,
    /// As in `spec.nodeName=node-1`; empty selects all.
    pub fields: String,
}

impl Selection {
    /// Everything in one namespace.
    pub fn namespace(name: &str) -> Self {
        Self { namespace: name.to_owned(), ..Self::default() }
    }
}

/// A change of a watched set.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    /// New in the set (or there from the start).
    Added(Arc<Value>),
    /// Changed within the set.
    Modified(Arc<Value>),
    /// No longer in the set; the last state.
    Deleted(Arc<Value>),
}

/// An in-process client. Resources are named `plural` or `plural.group`, as in `pods` and `deployments.apps`; custom
/// resources are seen under their storage version.
#[derive(Clone)]
pub struct LocalClient {
    api: Arc<Api>,
    user: Arc<UserInfo>,
    options: WriteOptions,
}

impl LocalClient {
    pub(crate) fn new(api: Arc<Api>, user: UserInfo) -> Self {
        let options = WriteOptions { manager: user.name.clone(), ..WriteOptions::default() };
        Self { api, user: Arc::new(user), options }
    }

    /// The same client under another field manager.
    #[must_use]
    pub fn with_manager(mut self, manager: &str) -> Self {
        manager.clone_into(&mut self.options.manager);
        self
    }

    fn target(
        &self,
        verb: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> Result<Target, ApiError> {
        let mut target = self.api.target(resource, namespace, name)?;
        if !subresource.is_empty() && !target.serves(subresource) {
            return Err(ApiError::NoSuchResource);
        }
        subresource.clone_into(&mut target.subresource);
        let access = Access {
            verb: verb.to_owned(),
            group: target.def.group.clone(),
            version: target.version.clone(),
            resource: target.def.plural.clone(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: String::new(),
        };
        self.api.authorizer.authorize(&self.api.store, &self.user, &access)?;
        Ok(target)
    }

    fn write(&self) -> Write<'_> {
        Write { user: &self.user, options: &self.options }
    }

    /// One object.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        self.api.get(&self.target("get", resource, namespace, name, "")?, "")
    }

    /// Objects and the resourceVersion they are of.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub fn list(&self, resource: &str, selection: &Selection) -> Result<(Vec<Arc<Value>>, String), ApiError> {
        let target = self.target("list", resource, &selection.namespace, "", "")?;
        let options = ListOptions {
            labels: LabelSelector::parse(&selection.labels)?,
            fields: FieldSelector::parse(&selection.fields)?,
            ..ListOptions::default()
        };
        let listing = self.api.list(&target, &options)?;
        Ok((listing.items, listing.revision.to_string()))
    }

    /// Creates an object in the namespace it names.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub async fn create(&self, resource: &str, object: Value) -> Result<Arc<Value>, ApiError> {
        let target = self.target("create", resource, object::namespace(&object), "", "")?;
        Ok(self.api.create(&self.write(), &target, object).await?.object)
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub async fn update(&self, resource: &str, object: Value) -> Result<Arc<Value>, ApiError> {
        self.replace(resource, "", object).await
    }

    /// Replaces the status of an object.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub async fn update_status(&self, resource: &str, object: Value) -> Result<Arc<Value>, ApiError> {
        self.replace(resource, "status", object).await
    }

    async fn replace(
        &self,
        resource: &str,
        subresource: &str,
        object: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let (namespace, name) = (object::namespace(&object), object::name(&object));
        let target = self.target("update", resource, namespace, name, subresource)?;
        Ok(self.api.update(&self.write(), &target, object).await?.object)
    }

    /// Patches an object, or a subresource of it (`""`, `status`, `scale`).
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub async fn patch(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let target = self.target("patch", resource, namespace, name, subresource)?;
        let patch = PatchRequest { kind, body: patch };
        Ok(self.api.patch(&self.write(), &target, &patch).await?.object)
    }

    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub async fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let target = self.target("delete", resource, namespace, name, "")?;
        self.api.delete(&self.write(), &target, options).await.map(drop)
    }

    /// A token for a service account, as `kubectl create token`. `request` is a TokenRequest.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub fn request_token(&self, namespace: &str, account: &str, request: Value) -> Result<Value, ApiError> {
        let target = self.target("create", "serviceaccounts", namespace, account, "token")?;
        crate::reviews::token_request(&self.api, &target, request)
    }

    /// The objects selected, as added, and then every change of that set for as long as the resource is served. A reader that
    /// falls too far behind is brought up to date by the difference; it never misses a final state.
    ///
    /// # Errors
    /// [`ApiError`], as over HTTP.
    pub fn watch(
        &self,
        resource: &str,
        selection: &Selection,
    ) -> Result<impl Stream<Item = WatchEvent> + Send + Unpin + use<>, ApiError> {
        let target = self.target("watch", resource, &selection.namespace, "", "")?;
        let options = WatchOptions {
            labels: LabelSelector::parse(&selection.labels)?,
            fields: FieldSelector::parse(&selection.fields)?,
            ..WatchOptions::default()
        };
        let start = self.api.watch(&target, &options)?;
        let mut follower = Follower {
            api: self.api.clone(),
            target,
            options,
            feed: start.feed,
            known: BTreeMap::new(),
            ready: VecDeque::new(),
        };
        follower.restart(start.initial);
        let stream = futures::stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((event, follower))
        });
        Ok(Box::pin(stream))
    }
}

/// The state of one in-process watch.
struct Follower {
    api: Arc<Api>,
    target: Target,
    options: WatchOptions,
    feed: crate::store::Feed,
    /// What the reader has been told of, by namespace and name.
    known: BTreeMap<(String, String), Arc<Value>>,
    ready: VecDeque<WatchEvent>,
}

impl Follower {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.feed.poll() {
                Ok(events) if events.is_empty() => {
                    if !self.feed.changed().await {
                        return None;
                    }
                }
                Ok(events) => {
                    for event in events {
                        self.tell(event.kind, event.object);
                    }
                }
                Err(_) => {
                    let start = self.api.watch(&self.target, &self.options).ok()?;
                    self.feed = start.feed;
                    self.restart(start.initial);
                }
            }
        }
    }

    /// Tells the difference between what the reader knows and what there is.
    fn restart(&mut self, objects: Vec<Arc<Value>>) {
        let mut gone = std::mem::take(&mut self.known);
        for object in objects {
            match gone.remove(&place(&object)) {
                None => self.tell(ChangeKind::Added, object),
                Some(old) if object::resource_version(&old) == object::resource_version(&object) => {
                    self.known.insert(place(&object), object);
                }
                Some(_) => self.tell(ChangeKind::Modified, object),
            }
        }
        for object in gone.into_values() {
            self.tell(ChangeKind::Deleted, object);
        }
    }

    fn tell(&mut self, kind: ChangeKind, object: Arc<Value>) {
        let event = match kind {
            ChangeKind::Deleted => {
                self.known.remove(&place(&object));
                WatchEvent::Deleted(object)
            }
            ChangeKind::Added => {
                self.known.insert(place(&object), object.clone());
                WatchEvent::Added(object)
            }
            ChangeKind::Modified => {
                self.known.insert(place(&object), object.clone());
                WatchEvent::Modified(object)
            }
        };
        self.ready.push_back(event);
    }
}

fn place(object: &Value) -> (String, String) {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}
