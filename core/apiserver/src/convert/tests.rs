use super::{present, store};
use crate::resource::Registry;
use serde_json::json;
use std::sync::Arc;

#[test]
fn an_event_of_either_group_reads_back_in_both_shapes() {
    let registry = Registry::new();
    let new = registry.find("events.k8s.io", "v1", "events").expect("events");
    let core = registry.find("", "v1", "events").expect("events");
    let sent = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "pulled",
        "regarding": {"name": "web"}, "reportingController": "kubelet"});
    let stored = Arc::new(store(&new, sent.clone()));
    assert_eq!(stored["message"], "pulled");
    assert_eq!(stored["involvedObject"]["name"], "web");
    assert!(Arc::ptr_eq(&present(&core, "v1", &stored), &stored));
    assert_eq!(*present(&new, "v1", &stored), sent);
}
