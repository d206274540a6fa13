//! Carries plans out by server-side apply, and remembers what it applied, so that the next plan can tell a change.

use crate::model::{Action, Key};
use crate::plan::Applied;
use futures::StreamExt as _;
use mesh_kube::{Client, Error};
use serde_json::{Value, json};
use tracing::{info, warn};

/// The field manager of everything the mirror writes.
pub(crate) const FIELD_MANAGER: &str = "linkerd-service-mirror";

/// Writes under way at once: a link of hundreds of services must not take a second for each.
const CONCURRENT: usize = 16;

/// The present in RFC 3339, to the second.
pub(crate) fn now() -> String {
    rfc3339(jiff::Timestamp::now())
}

/// A time in RFC 3339, to the second.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) struct Writer {
    client: Client,
    pub(crate) services: Applied,
    pub(crate) slices: Applied,
}

impl Writer {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, services: Applied::new(), slices: Applied::new() }
    }

    /// Applies first, Services before their slices, then deletes. Answers whether anything failed; the next plan
    /// will want it again.
    pub(crate) async fn carry_out(&mut self, actions: &[Action]) -> bool {
        let mut failed = false;
        type Stage = fn(&Action) -> bool;
        let stages: [Stage; 4] = [
            |a| matches!(a, Action::ApplyNamespace(_)),
            |a| matches!(a, Action::ApplyService(_)),
            |a| matches!(a, Action::ApplySlice(_)),
            |a| matches!(a, Action::DeleteService(_) | Action::DeleteSlice(_)),
        ];
        for stage in stages {
            let staged: Vec<Action> = actions.iter().filter(|a| stage(a)).cloned().collect();
            let writes = staged.into_iter().map(|action| carry_out_one(self.client.clone(), action));
            let done: Vec<_> = futures::stream::iter(writes).buffer_unordered(CONCURRENT).collect().await;
            for (action, outcome) in done {
                match outcome {
                    Ok(()) => self.note(&action),
                    Err(error) => {
                        warn!(action = describe(&action), %error, "not done, will be tried again");
                        failed = true;
                    }
                }
            }
        }
        failed
    }

    fn note(&mut self, action: &Action) {
        info!(action = describe(action), "done");
        match action {
            Action::ApplyNamespace(_) => {}
            Action::ApplyService(o) => drop(self.services.insert(Key::of(o), o.clone())),
            Action::ApplySlice(o) => drop(self.slices.insert(Key::of(o), o.clone())),
            Action::DeleteService(k) => drop(self.services.remove(k)),
            Action::DeleteSlice(k) => drop(self.slices.remove(k)),
        }
    }
}

async fn carry_out_one(client: Client, action: Action) -> (Action, Result<(), Error>) {
    let outcome = write(&client, &action).await;
    (action, outcome)
}

async fn write(client: &Client, action: &Action) -> Result<(), Error> {
    match action {
        Action::ApplyNamespace(object) | Action::ApplyService(object) | Action::ApplySlice(object) => {
            mesh_kube::apply(client, FIELD_MANAGER, object).await.map(drop)
        }
        Action::DeleteService(key) => {
            mesh_kube::delete(client, &reference("v1", "Service", key)).await.map(drop)
        }
        Action::DeleteSlice(key) => {
            mesh_kube::delete(client, &reference("discovery.k8s.io/v1", "EndpointSlice", key)).await.map(drop)
        }
    }
}

fn reference(api_version: &str, kind: &str, key: &Key) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": key.name, "namespace": key.namespace},
    })
}

fn describe(action: &Action) -> String {
    match action {
        Action::ApplyNamespace(o) => format!("apply Namespace {}", Key::of(o).name),
        Action::ApplyService(o) => format!("apply Service {}", Key::of(o)),
        Action::ApplySlice(o) => format!("apply EndpointSlice {}", Key::of(o)),
        Action::DeleteService(k) => format!("delete Service {k}"),
        Action::DeleteSlice(k) => format!("delete EndpointSlice {k}"),
    }
}
