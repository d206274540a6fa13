//! Objects in memory: one ordered table per resource, one revision counter for all of them, and per table a ring of the
//! latest changes from which watches resume and past states are rebuilt.
//!
//! Values are `Arc`s: lists and watches share them and serialise only what is sent.

mod feed;
mod owners;
#[cfg(test)]
mod tests;

pub(crate) use feed::{Feed, FeedEvent, Filter};
pub(crate) use owners::ObjectRef;

use crate::object;
use owners::Owners;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// Changes remembered per table. A watcher that falls further behind gets 410 and lists again.
const LOG_LENGTH: usize = 4096;

/// Place of an object in its table; namespace is empty for cluster scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the log.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) kind: ChangeKind,
    pub(crate) key: Key,
    /// State after the change; of a deletion, the last state under the revision of the deletion.
    pub(crate) object: Arc<Value>,
    pub(crate) previous: Option<Arc<Value>>,
}

/// The revision asked for is no longer in the log; carries the oldest that is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

/// A write met another state than it expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    Exists,
    Missing,
    Raced,
}

#[derive(Debug)]
struct Table {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Arc<Change>>,
    /// Changes up to and including this revision are forgotten.
    compacted: u64,
    latest: watch::Sender<u64>,
}

impl Table {
    fn new(revision: u64) -> Self {
        let latest = watch::Sender::new(revision);
        Self { objects: BTreeMap::new(), log: VecDeque::new(), compacted: 0, latest }
    }

    fn record(&mut self, change: Change) {
        let revision = change.revision;
        if self.log.len() == LOG_LENGTH
            && let Some(oldest) = self.log.pop_front()
        {
            self.compacted = oldest.revision;
        }
        self.log.push_back(Arc::new(change));
        self.latest.send_replace(revision);
    }
}

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    tables: HashMap<String, Table>,
    owners: Owners,
}

impl Inner {
    fn table(&mut self, name: &str) -> &mut Table {
        let revision = self.revision;
        if !self.tables.contains_key(name) {
            self.tables.insert(name.to_owned(), Table::new(revision));
        }
        self.tables.entry(name.to_owned()).or_insert_with(|| Table::new(revision))
    }
}

/// The objects of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
}

/// Objects of a table at a revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<Arc<Value>>,
    pub(crate) revision: u64,
}

impl Store {
    /// The revision of the latest write anywhere.
    pub(crate) fn revision(&self) -> u64 {
        self.inner.read().revision
    }

    pub(crate) fn get(&self, table: &str, key: &Key) -> Option<Arc<Value>> {
        self.inner.read().tables.get(table)?.objects.get(key).cloned()
    }

    /// Objects of one namespace, or of all, in key order.
    pub(crate) fn list(&self, table: &str, namespace: Option<&str>) -> Snapshot {
        let inner = self.inner.read();
        let objects =
            inner.tables.get(table).map(|t| in_namespace(&t.objects, namespace)).unwrap_or_default();
        Snapshot { objects, revision: inner.revision }
    }

    /// As `list`, but as things were at `revision`: later changes are undone from the log.
    pub(crate) fn list_at(
        &self,
        table: &str,
        ns: Option<&str>,
        revision: u64,
    ) -> Result<Snapshot, Compacted> {
        let inner = self.inner.read();
        let Some(t) = inner.tables.get(table) else { return Ok(Snapshot { objects: Vec::new(), revision }) };
        if revision < t.compacted {
            return Err(Compacted { oldest: t.compacted });
        }
        if t.log.back().is_none_or(|c| c.revision <= revision) {
            return Ok(Snapshot { objects: in_namespace(&t.objects, ns), revision });
        }
        let mut past = t.objects.clone();
        for change in t.log.iter().rev().take_while(|c| c.revision > revision) {
            match &change.previous {
                Some(previous) => past.insert(change.key.clone(), previous.clone()),
                None => past.remove(&change.key),
            };
        }
        Ok(Snapshot { objects: in_namespace(&past, ns), revision })
    }

    /// Adds an object, stamping its resourceVersion.
    pub(crate) fn insert(&self, table: &str, key: &Key, mut value: Value) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        if inner.table(table).objects.contains_key(key) {
            return Err(WriteError::Exists);
        }
        inner.revision += 1;
        let revision = inner.revision;
        object::set_resource_version(&mut value, revision);
        let value = Arc::new(value);
        inner.owners.track(table, key, None, Some(&value));
        let t = inner.table(table);
        t.objects.insert(key.clone(), value.clone());
        let kind = ChangeKind::Added;
        t.record(Change { revision, kind, key: key.clone(), object: value.clone(), previous: None });
        Ok(value)
    }

    /// Replaces an object that still is `expected`. A write that changes nothing keeps the revision.
    pub(crate) fn replace(
        &self,
        table: &str,
        key: &Key,
        expected: &Arc<Value>,
        mut value: Value,
    ) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        let current = inner.table(table).objects.get(key).cloned().ok_or(WriteError::Missing)?;
        if !Arc::ptr_eq(&current, expected) {
            return Err(WriteError::Raced);
        }
        object::copy_resource_version(&current, &mut value);
        if *current == value {
            return Ok(current);
        }
        inner.revision += 1;
        let revision = inner.revision;
        object::set_resource_version(&mut value, revision);
        let value = Arc::new(value);
        inner.owners.track(table, key, Some(&current), Some(&value));
        let t = inner.table(table);
        t.objects.insert(key.clone(), value.clone());
        let kind = ChangeKind::Modified;
        t.record(Change { revision, kind, key: key.clone(), object: value.clone(), previous: Some(current) });
        Ok(value)
    }

    /// Removes an object that still is `expected`; returns its last state under the revision of the deletion.
    pub(crate) fn remove(
        &self,
        table: &str,
        key: &Key,
        expected: &Arc<Value>,
    ) -> Result<Arc<Value>, WriteError> {
        let mut inner = self.inner.write();
        let current = inner.table(table).objects.get(key).cloned().ok_or(WriteError::Missing)?;
        if !Arc::ptr_eq(&current, expected) {
            return Err(WriteError::Raced);
        }
        inner.revision += 1;
        let revision = inner.revision;
        let mut last = (*current).clone();
        object::set_resource_version(&mut last, revision);
        let last = Arc::new(last);
        inner.owners.track(table, key, Some(&current), None);
        let t = inner.table(table);
        t.objects.remove(key);
        let kind = ChangeKind::Deleted;
        t.record(Change { revision, kind, key: key.clone(), object: last.clone(), previous: Some(current) });
        Ok(last)
    }

    /// Forgets changes up to a revision, as etcd's compaction does: older watches and continue tokens get 410.
    pub(crate) fn compact(&self, revision: u64) {
        let mut inner = self.inner.write();
        for t in inner.tables.values_mut() {
            let forgotten = t.log.partition_point(|c| c.revision <= revision);
            if let Some(last) = t.log.drain(..forgotten).next_back() {
                t.compacted = last.revision;
            }
        }
    }

    /// Ends every watch of a table, whose resource is no longer served, and forgets its log.
    pub(crate) fn close(&self, table: &str) {
        let mut inner = self.inner.write();
        let revision = inner.revision;
        let t = inner.table(table);
        t.log.clear();
        t.compacted = revision;
        // The old sender is dropped here, which its receivers notice.
        t.latest = watch::Sender::new(revision);
    }

    /// Changes after `revision`, oldest first.
    pub(crate) fn changes_since(&self, table: &str, revision: u64) -> Result<Vec<Arc<Change>>, Compacted> {
        let inner = self.inner.read();
        let Some(t) = inner.tables.get(table) else { return Ok(Vec::new()) };
        if revision < t.compacted {
            return Err(Compacted { oldest: t.compacted });
        }
        let start = t.log.partition_point(|c| c.revision <= revision);
        Ok(t.log.range(start..).cloned().collect())
    }

    /// Wakes at every change of a table.
    pub(crate) fn subscribe(&self, table: &str) -> watch::Receiver<u64> {
        self.inner.write().table(table).latest.subscribe()
    }

    /// The revision of the latest change of a table.
    pub(crate) fn table_revision(&self, table: &str) -> u64 {
        self.inner.read().tables.get(table).map_or(0, |t| *t.latest.borrow())
    }

    /// Objects that name this uid as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.inner.read().owners.dependents(uid)
    }

    /// The object of this uid.
    pub(crate) fn locate(&self, uid: &str) -> Option<ObjectRef> {
        self.inner.read().owners.locate(uid)
    }

    /// Names of tables that hold anything in this namespace.
    pub(crate) fn tables_in(&self, namespace: &str) -> Vec<String> {
        let inner = self.inner.read();
        let occupied = |t: &Table| first_in(&t.objects, namespace);
        inner.tables.iter().filter(|(_, t)| occupied(t)).map(|(name, _)| name.clone()).collect()
    }
}

fn first_in(objects: &BTreeMap<Key, Arc<Value>>, namespace: &str) -> bool {
    objects.range(Key::new(namespace, "")..).next().is_some_and(|(k, _)| k.namespace == namespace)
}

fn in_namespace(objects: &BTreeMap<Key, Arc<Value>>, namespace: Option<&str>) -> Vec<Arc<Value>> {
    match namespace {
        None => objects.values().cloned().collect(),
        Some(ns) => objects
            .range(Key::new(ns, "")..)
            .take_while(|(k, _)| k.namespace == ns)
            .map(|(_, v)| v.clone())
            .collect(),
    }
}
