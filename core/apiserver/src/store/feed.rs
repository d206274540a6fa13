//! A watch: what changed in a table, as seen through a filter.

use super::{Change, ChangeKind, Compacted, Store};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// Whether an object belongs to the watched set.
pub(crate) type Filter = Box<dyn Fn(&Value) -> bool + Send + Sync>;

/// One change of the watched set.
#[derive(Debug, Clone)]
pub(crate) struct FeedEvent {
    pub(crate) kind: ChangeKind,
    pub(crate) object: Arc<Value>,
}

/// A position in a table's log.
pub(crate) struct Feed {
    store: Arc<Store>,
    table: String,
    filter: Filter,
    cursor: u64,
    latest: watch::Receiver<u64>,
}

impl Feed {
    /// Changes after `revision`.
    pub(crate) fn resume(store: Arc<Store>, table: &str, filter: Filter, revision: u64) -> Self {
        let latest = store.subscribe(table);
        Self { store, table: table.to_owned(), filter, cursor: revision, latest }
    }

    /// The current members of the set, and the changes after them.
    pub(crate) fn from_now(
        store: Arc<Store>,
        table: &str,
        ns: Option<&str>,
        filter: Filter,
    ) -> (Vec<Arc<Value>>, Self) {
        let latest = store.subscribe(table);
        let snapshot = store.list(table, ns);
        let members = snapshot.objects.into_iter().filter(|o| filter(o)).collect();
        (members, Self { store, table: table.to_owned(), filter, cursor: snapshot.revision, latest })
    }

    /// Everything up to here has been handed out (or did not concern the set).
    pub(crate) fn revision(&self) -> u64 {
        self.cursor
    }

    /// Changes that have happened and were not handed out; may be empty. Also moves past what other tables did, so that
    /// a bookmark carries a fresh revision.
    pub(crate) fn poll(&mut self) -> Result<Vec<FeedEvent>, Compacted> {
        self.latest.borrow_and_update();
        // Read before the log: a change that lands between the two is handed out and then lies at or before no cursor.
        let now = self.store.revision();
        let changes = self.store.changes_since(&self.table, self.cursor)?;
        let last = changes.last().map_or(now, |c| c.revision.max(now));
        self.cursor = self.cursor.max(last);
        Ok(changes.iter().filter_map(|c| self.seen(c)).collect())
    }

    /// Waits until `poll` may have something; false when the resource is no longer served.
    pub(crate) async fn changed(&mut self) -> bool {
        self.latest.changed().await.is_ok()
    }

    fn seen(&self, change: &Change) -> Option<FeedEvent> {
        let was = change.previous.as_deref().is_some_and(|p| (self.filter)(p));
        let is = change.kind != ChangeKind::Deleted && (self.filter)(&change.object);
        let kind = match (was, is) {
            (false, false) => return None,
            (false, true) => ChangeKind::Added,
            (true, true) => ChangeKind::Modified,
            (true, false) => ChangeKind::Deleted,
        };
        let object = match &change.previous {
            // What leaves the set is shown as it was in it, at the revision at which it left.
            Some(previous) if kind == ChangeKind::Deleted && change.kind != ChangeKind::Deleted => {
                let mut last = (**previous).clone();
                crate::object::copy_resource_version(&change.object, &mut last);
                Arc::new(last)
            }
            _ => change.object.clone(),
        };
        Some(FeedEvent { kind, object })
    }
}
