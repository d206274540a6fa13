use super::{History, REMEMBERED_SWEEPS, expire_events};
use crate::server::{ApiServer, Config};
use crate::store::{Feed, Key, Store};
use jiff::SignedDuration;
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn events_go_an_hour_after_they_last_happened() {
    let handle = ApiServer::start(Config::default()).await.expect("a server");
    let api = handle.api();
    let now = jiff::Timestamp::now();
    for (name, age) in [("old", 61), ("new", 59)] {
        let at = crate::object::time(now - SignedDuration::from_mins(age));
        let event =
            json!({"metadata": {"namespace": "default", "name": name, "uid": name}, "lastTimestamp": at});
        api.store.insert("events", &Key::new("default", name), event).expect("inserted");
    }
    expire_events(api, now);
    let left: Vec<String> =
        api.store.list("events", None).objects.iter().map(|e| crate::object::name(e).to_owned()).collect();
    assert_eq!(left, ["new"]);
}

#[test]
fn history_is_forgotten_after_some_sweeps_and_watchers_of_quiet_tables_do_not_notice() {
    let store = Arc::new(Store::default());
    let map = |name: &str| json!({"metadata": {"namespace": "default", "name": name, "uid": name}});
    let mut quiet = Feed::resume(store.clone(), "secrets", Box::new(|_| true), 0);
    let mut history = History::default();
    store.insert("configmaps", &Key::new("default", "a"), map("a")).expect("inserted");
    for _ in 0..REMEMBERED_SWEEPS {
        history.sweep(&store);
    }
    assert_eq!(store.changes_since("configmaps", 0).expect("remembered").len(), 1);
    history.sweep(&store);
    assert!(store.changes_since("configmaps", 0).is_err());
    store.insert("secrets", &Key::new("default", "s"), map("s")).expect("inserted");
    assert_eq!(quiet.poll().expect("nothing missed").len(), 1);
}
