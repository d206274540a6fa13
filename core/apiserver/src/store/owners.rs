//! Which objects exist by uid, and which name which as their owner: what garbage collection asks.

use super::Key;
use crate::object;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// An object by table and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectRef {
    pub(crate) table: String,
    pub(crate) key: Key,
}

#[derive(Debug, Default)]
pub(super) struct Owners {
    uids: HashMap<String, ObjectRef>,
    dependents: HashMap<String, BTreeSet<ObjectRef>>,
}

impl Owners {
    pub(super) fn track(&mut self, table: &str, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        if let Some(old) = old {
            self.uids.remove(object::uid(old));
            for uid in object::owner_uids(old) {
                if let Some(set) = self.dependents.get_mut(uid) {
                    set.remove(&ObjectRef { table: table.to_owned(), key: key.clone() });
                    if set.is_empty() {
                        self.dependents.remove(uid);
                    }
                }
            }
        }
        if let Some(new) = new {
            let entry = ObjectRef { table: table.to_owned(), key: key.clone() };
            self.uids.insert(object::uid(new).to_owned(), entry);
            for uid in object::owner_uids(new) {
                let entry = ObjectRef { table: table.to_owned(), key: key.clone() };
                self.dependents.entry(uid.to_owned()).or_default().insert(entry);
            }
        }
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<ObjectRef> {
        self.dependents.get(uid).map(|set| set.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn locate(&self, uid: &str) -> Option<ObjectRef> {
        self.uids.get(uid).cloned()
    }
}
