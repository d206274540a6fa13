//! Events on objects, as `kubectl describe` shows them. Recording never fails the caller: what cannot be recorded is
//! logged. The same words on the same object raise a count instead of making a new event.

use crate::apply::full_name;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::json;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use tracing::warn;

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// As it should be.
    Normal,
    /// Someone should look.
    Warning,
}

/// Records events as one component.
#[derive(Clone)]
pub struct Events {
    client: Client,
    component: String,
}

impl Events {
    /// Events of `component`, such as `linkerd-proxy-injector`.
    pub fn new(client: Client, component: impl Into<String>) -> Self {
        Self { client, component: component.into() }
    }

    /// Records one event on `object`. `reason` is one word in CamelCase.
    pub async fn record<K>(&self, object: &K, kind: EventKind, reason: &str, message: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = object.object_ref(&());
        if let Err(error) = self.record_on(about, kind, reason, message).await {
            warn!(object = full_name(object), reason, %error, "event not recorded");
        }
    }

    /// Records one event on a reference.
    ///
    /// # Errors
    /// Whatever the API server answers.
    pub async fn record_on(
        &self,
        about: ObjectReference,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) -> Result<(), crate::Error> {
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let name = self.event_name(&about, reason, message);
        let now = Time(Timestamp::now());
        if let Some(known) = events.get_opt(&name).await? {
            let patch = json!({"count": known.count.unwrap_or(1) + 1, "lastTimestamp": now});
            events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            return Ok(());
        }
        let event = Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: about,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some(if kind == EventKind::Normal { "Normal" } else { "Warning" }.to_owned()),
            source: Some(EventSource { component: Some(self.component.clone()), host: None }),
            reporting_component: Some(self.component.clone()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        };
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }

    fn event_name(&self, about: &ObjectReference, reason: &str, message: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&about.uid, &about.kind, reason, message, &self.component).hash(&mut hasher);
        format!("{}.{:016x}", about.name.as_deref().unwrap_or("object"), hasher.finish())
    }
}
