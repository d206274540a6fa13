use super::expire_events;
use crate::server::{ApiServer, Config};
use crate::store::Key;
use jiff::SignedDuration;
use serde_json::json;

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
