//! The edge to the API server: watches in, writes out.

use std::sync::Arc;

use futures::StreamExt as _;
use mesh_apiserver::{DeleteOptions, LocalClient, PatchKind, Propagation, Selection, WatchEvent};
use serde_json::Value;
use tokio::sync::mpsc;

use super::object::Key;
use super::plan::Action;
use super::world::Kind;

/// An object as a watch or a write showed it.
pub(crate) enum Seen {
    /// It exists like this.
    Present(Kind, Arc<Value>),
    /// It is gone; its last state.
    Gone(Kind, Arc<Value>),
}

/// What came of one write.
pub(crate) enum Outcome {
    /// The new object.
    Created(Kind, Arc<Value>),
    /// The object as it is now.
    Written(Kind, Arc<Value>),
    /// The deletion was accepted.
    Deleting(Kind, Key, String),
    /// It was refused, with the server's reason.
    Refused(Action, String),
}

/// Passes on everything that happens to a kind, from what exists now on.
pub(crate) async fn watch(client: LocalClient, kind: Kind, seen: mpsc::Sender<Seen>) {
    let mut changes = match client.watch(kind.resource(), &Selection::default()) {
        Ok(changes) => changes,
        Err(error) => {
            tracing::error!(%error, ?kind, "cannot watch");
            return;
        }
    };
    while let Some(change) = changes.next().await {
        let change = match change {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Seen::Present(kind, object),
            WatchEvent::Deleted(object) => Seen::Gone(kind, object),
        };
        if seen.send(change).await.is_err() {
            return;
        }
    }
}

/// Carries out one action.
pub(crate) async fn write(client: LocalClient, action: Action) -> Outcome {
    let written = match &action {
        Action::Create(kind, object) => {
            client.create(kind.resource(), object.clone()).await.map(|object| Outcome::Created(*kind, object))
        }
        Action::Patch(kind, key, patch) => merge(&client, *kind, key, "", patch).await,
        Action::PatchStatus(kind, key, patch) => merge(&client, *kind, key, "status", patch).await,
        Action::Delete(kind, key, uid) => {
            let options = DeleteOptions {
                propagation: Propagation::Background,
                uid: Some(uid.clone()),
                ..DeleteOptions::default()
            };
            let deleted = client.delete(kind.resource(), &key.namespace, &key.name, &options).await;
            deleted.map(|()| Outcome::Deleting(*kind, key.clone(), uid.clone()))
        }
    };
    match written {
        Ok(outcome) => outcome,
        Err(mesh_apiserver::ApiError::NotFound { .. }) if !matches!(action, Action::Create(..)) => {
            // Gone in the meantime; the watch tells.
            let (kind, key) = subject(&action);
            Outcome::Deleting(kind, key, String::new())
        }
        Err(error) => Outcome::Refused(action, error.to_string()),
    }
}

async fn merge(
    client: &LocalClient,
    kind: Kind,
    key: &Key,
    subresource: &str,
    patch: &Value,
) -> Result<Outcome, mesh_apiserver::ApiError> {
    let patched = client.patch(
        kind.resource(),
        &key.namespace,
        &key.name,
        subresource,
        PatchKind::Merge,
        patch.clone(),
    );
    Ok(Outcome::Written(kind, patched.await?))
}

fn subject(action: &Action) -> (Kind, Key) {
    match action {
        Action::Create(kind, object) => (*kind, Key::of(object)),
        Action::Patch(kind, key, _) | Action::PatchStatus(kind, key, _) | Action::Delete(kind, key, _) => {
            (*kind, key.clone())
        }
    }
}
