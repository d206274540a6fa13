//! What a watch has told, as raw objects by key, with a bell that rings at every change.

use crate::model::Key;
use mesh_kube::kube::api::{Api, ApiResource, DynamicObject};
use mesh_kube::kube::core::GroupVersionKind;
use mesh_kube::kube::runtime::watcher;
use mesh_kube::{Change, Client, WatchState, watch};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Rings whoever waits for a change; rings are not counted, since every reader looks at everything.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }

    /// Whether anybody else holds this bell.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

/// The kinds this room reads.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Service,
    EndpointSlice,
    Namespace,
    Secret,
    ConfigMap,
    Link,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::Service => ("", "v1", "Service"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice"),
            Self::Namespace => ("", "v1", "Namespace"),
            Self::Secret => ("", "v1", "Secret"),
            Self::ConfigMap => ("", "v1", "ConfigMap"),
            Self::Link => ("multicluster.linkerd.io", "v1alpha3", "Link"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }

    /// The way to the objects of this kind in a scope's namespace, or in all.
    pub(crate) fn api(self, client: &Client, scope: &Scope) -> Api<DynamicObject> {
        let resource = self.resource();
        match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }
}

/// Which objects of a kind are watched.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
}

impl Scope {
    pub(crate) fn labels(selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..Self::default() }
    }

    pub(crate) fn named(namespace: &str, name: &str) -> Self {
        let fields = Some(format!("metadata.name={name}"));
        Self { namespace: Some(namespace.to_owned()), fields, labels: None }
    }

    pub(crate) fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }
}

/// The objects of one watch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    objects: Arc<Mutex<BTreeMap<Key, Arc<Value>>>>,
    pub(crate) state: WatchState,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { objects: Arc::default(), state: WatchState::new() }
    }

    /// All objects as they are now.
    pub(crate) fn all(&self) -> BTreeMap<Key, Arc<Value>> {
        self.objects.lock().clone()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.lock().len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.lock().get(key).cloned()
    }

    /// Keeps this store true until the future is dropped, ringing every bell at each change.
    pub(crate) async fn follow(self, client: Client, kind: Kind, scope: Scope, bells: Vec<Bell>) {
        let api = kind.api(&client, &scope);
        let mut config = watcher::Config::default();
        if let Some(labels) = &scope.labels {
            config = config.labels(labels);
        }
        if let Some(fields) = &scope.fields {
            config = config.fields(fields);
        }
        let state = self.state.clone();
        watch(api, config, state, move |change| {
            self.take(change);
            for bell in &bells {
                bell.ring();
            }
        })
        .await;
    }

    fn take(&self, change: Change<DynamicObject>) {
        let entry = |object: DynamicObject| {
            // An object that came as JSON goes back to JSON.
            let value = serde_json::to_value(object).unwrap_or_default();
            (Key::of(&value), Arc::new(value))
        };
        match change {
            Change::Reset(objects) => *self.objects.lock() = objects.into_iter().map(entry).collect(),
            Change::Apply(object) => {
                let (key, value) = entry(object);
                self.objects.lock().insert(key, value);
            }
            Change::Delete(object) => {
                let (key, _) = entry(object);
                self.objects.lock().remove(&key);
            }
        }
    }
}
