//! The collector: takes along what belonged to something that is gone, and finishes deletions that wait for others.

#[cfg(test)]
mod tests;

use crate::api::{Api, DeleteOptions, Propagation, Target, Write, WriteOptions};
use crate::api::{FOREGROUND, ORPHAN};
use crate::error::ApiError;
use crate::object;
use crate::store::{Key, ObjectRef, Store};
use crate::strategy::definition::CLEANUP;
use crate::user::UserInfo;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long an event is kept: Kubernetes' default.
const EVENT_LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// How often events and history are looked through.
const SWEEP: Duration = Duration::from_secs(60);
/// Sweeps for which history is kept: five minutes, as long as a real server keeps it.
const REMEMBERED_SWEEPS: usize = 5;

/// Something to look into. All of it is level-triggered: looking twice does no harm.
#[derive(Debug)]
pub(crate) enum Work {
    /// Do the owners of this object exist?
    CheckOwners(ObjectRef),
    /// An object is gone; what named it as owner?
    OwnerGone(String),
    /// A dependent is gone; was its owner, of this uid, waiting for it?
    DependentGone(String),
    /// An object's deletion has begun or moved on.
    Deleting(ObjectRef),
    /// Something left this namespace; was it the last?
    Emptied(String),
    /// A custom object left this table; was it the last?
    InstanceGone(String),
}

/// Works until the server stops.
pub(crate) async fn run(api: Arc<Api>, mut work: mpsc::UnboundedReceiver<Work>) {
    let mut sweep = tokio::time::interval(SWEEP);
    let mut history = History::default();
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let work = tokio::select! {
            work = work.recv() => work,
            _ = sweep.tick() => {
                expire_events(&api, jiff::Timestamp::now());
                history.sweep(&api.store);
                continue;
            }
        };
        let Some(work) = work else { return };
        match work {
            Work::CheckOwners(entry) => check_owners(&api, &entry).await,
            Work::OwnerGone(uid) => {
                for dependent in api.store.dependents(&uid) {
                    check_owners(&api, &dependent).await;
                }
            }
            Work::DependentGone(uid) => {
                if let Some(owner) = api.store.locate(&uid) {
                    advance(&api, &owner).await;
                }
            }
            Work::Deleting(entry) => advance(&api, &entry).await,
            Work::Emptied(namespace) => {
                if let Ok(target) = api.target("namespaces", "", &namespace) {
                    finish_namespace(&api, &target);
                }
            }
            Work::InstanceGone(table) => {
                if let Ok(target) = api.target("customresourcedefinitions.apiextensions.k8s.io", "", &table) {
                    finish_definition(&api, &target);
                }
            }
        }
    }
}

/// The revisions of the latest sweeps, oldest first.
#[derive(Debug, Default)]
struct History(VecDeque<u64>);

impl History {
    /// Forgets what is older than the oldest sweep remembered.
    fn sweep(&mut self, store: &Store) {
        self.0.push_back(store.revision());
        if self.0.len() > REMEMBERED_SWEEPS
            && let Some(revision) = self.0.pop_front()
        {
            store.compact(revision);
        }
    }
}

/// Removes events that nothing has happened to for an hour.
pub(crate) fn expire_events(api: &Api, now: jiff::Timestamp) {
    for event in api.store.list("events", None).objects {
        let times =
            ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let last = times.iter().find_map(|t| object::text(&event, t).parse::<jiff::Timestamp>().ok());
        if last.is_some_and(|at| now.duration_since(at) > EVENT_LIFETIME) {
            let key = Key::new(object::namespace(&event), object::name(&event));
            // Lost to another write: it lives on.
            let _ = api.store.remove("events", &key, &event);
        }
    }
}

fn target_of(api: &Api, entry: &ObjectRef) -> Option<(Target, Arc<Value>)> {
    let target = api.target(&entry.table, &entry.key.namespace, &entry.key.name).ok()?;
    let live = api.stored(&target).ok()?;
    Some((target, live))
}

/// Deletes an object all of whose owners are gone or wait for it; drops references to those that are, otherwise.
async fn check_owners(api: &Api, entry: &ObjectRef) {
    let Some((target, live)) = target_of(api, entry) else { return };
    let mut solid = false;
    let mut dangling = Vec::new();
    let mut waiting = false;
    for uid in object::owner_uids(&live) {
        match api.store.locate(uid).and_then(|owner| target_of(api, &owner)) {
            None => dangling.push(uid.to_owned()),
            Some((_, owner))
                if object::deleting(&owner) && object::finalizers(&owner).contains(&FOREGROUND) =>
            {
                waiting = true;
                dangling.push(uid.to_owned());
            }
            Some(_) => solid = true,
        }
    }
    if dangling.is_empty() {
        return;
    }
    if solid {
        drop_owners(api, &target, &dangling);
    } else if !object::deleting(&live) {
        let propagation = if waiting { Propagation::Foreground } else { Propagation::Background };
        delete(api, &target, &live, propagation).await;
    }
}

fn drop_owners(api: &Api, target: &Target, uids: &[String]) {
    api.amend(target, |object| {
        let kept: Vec<Value> = object::owners(object)
            .iter()
            .filter(|o| !uids.iter().any(|u| u == object::field(o, "uid")))
            .cloned()
            .collect();
        let kept = (!kept.is_empty()).then(|| json!(kept));
        object::put(object::metadata_mut(object), "ownerReferences", kept);
    });
}

fn drop_finalizer(api: &Api, target: &Target, finalizer: &str) {
    api.amend(target, |object| {
        let kept: Vec<String> =
            object::finalizers(object).into_iter().filter(|f| *f != finalizer).map(str::to_owned).collect();
        let kept = (!kept.is_empty()).then(|| json!(kept));
        object::put(object::metadata_mut(object), "finalizers", kept);
    });
}

async fn delete(api: &Api, target: &Target, live: &Value, propagation: Propagation) {
    let user = UserInfo {
        name: "system:serviceaccount:kube-system:generic-garbage-collector".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..UserInfo::default()
    };
    let write = Write { user: &user, options: &WriteOptions::default() };
    let options =
        DeleteOptions { propagation, uid: Some(object::uid(live).to_owned()), ..DeleteOptions::default() };
    match api.delete(&write, target, &options).await {
        Ok(_) | Err(ApiError::NotFound { .. } | ApiError::Conflict { .. }) => {}
        Err(error) => {
            tracing::warn!(resource = target.def.plural, name = target.name, %error, "cannot collect");
        }
    }
}

/// Moves a deletion on as far as it goes.
async fn advance(api: &Api, entry: &ObjectRef) {
    let Some((target, live)) = target_of(api, entry) else { return };
    if !object::deleting(&live) {
        return;
    }
    let uid = object::uid(&live).to_owned();
    let finalizers = object::finalizers(&live);
    if finalizers.contains(&ORPHAN) {
        for dependent in api.store.dependents(&uid) {
            if let Some((target, _)) = target_of(api, &dependent) {
                drop_owners(api, &target, std::slice::from_ref(&uid));
            }
        }
        drop_finalizer(api, &target, ORPHAN);
    } else if finalizers.contains(&FOREGROUND) {
        for dependent in api.store.dependents(&uid) {
            check_owners(api, &dependent).await;
        }
        if !api.store.dependents(&uid).iter().any(|d| blocks(api, d, &uid)) {
            drop_finalizer(api, &target, FOREGROUND);
        }
    }
    match target.table().as_str() {
        "namespaces" => empty_namespace(api, &target).await,
        "customresourcedefinitions.apiextensions.k8s.io" if finalizers.contains(&CLEANUP) => {
            for instance in api.store.list(&target.name, None).objects {
                if let Ok(target) =
                    api.target(&target.name, object::namespace(&instance), object::name(&instance))
                    && !object::deleting(&instance)
                {
                    delete(api, &target, &instance, Propagation::Background).await;
                }
            }
            finish_definition(api, &target);
        }
        _ => {}
    }
}

fn blocks(api: &Api, dependent: &ObjectRef, uid: &str) -> bool {
    target_of(api, dependent).is_some_and(|(_, live)| {
        object::owners(&live)
            .iter()
            .any(|o| object::field(o, "uid") == uid && o["blockOwnerDeletion"] == true)
    })
}

async fn empty_namespace(api: &Api, namespace: &Target) {
    for table in api.store.tables_in(&namespace.name) {
        for live in api.store.list(&table, Some(&namespace.name)).objects {
            if let Ok(target) = api.target(&table, &namespace.name, object::name(&live))
                && !object::deleting(&live)
            {
                delete(api, &target, &live, Propagation::Background).await;
            }
        }
    }
    finish_namespace(api, namespace);
}

fn finish_namespace(api: &Api, namespace: &Target) {
    let terminating = api.stored(namespace).is_ok_and(|ns| object::deleting(&ns));
    if terminating && api.store.tables_in(&namespace.name).is_empty() {
        api.amend(namespace, |ns| {
            object::member_mut(ns, "spec").remove("finalizers");
        });
    }
}

fn finish_definition(api: &Api, crd: &Target) {
    let terminating = api.stored(crd).is_ok_and(|c| object::deleting(&c));
    if terminating && api.store.list(&crd.name, None).objects.is_empty() {
        drop_finalizer(api, crd, CLEANUP);
    }
}
