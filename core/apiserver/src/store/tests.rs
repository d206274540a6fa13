use super::{ChangeKind, Feed, Key, Store, WriteError};
use proptest::prelude::{Strategy, prop_oneof, proptest};
use proptest::prop_assert_eq;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn pod(name: &str, app: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": app}}})
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn names(objects: &[Arc<Value>]) -> Vec<&str> {
    objects.iter().map(|o| o["metadata"]["name"].as_str().expect("a name")).collect()
}

#[test]
fn every_write_gets_a_higher_revision_and_a_write_of_nothing_new_gets_none() {
    let store = Store::default();
    let first = store.insert("pods", &key("a"), pod("a", "web")).expect("inserted");
    let second = store.replace("pods", &key("a"), &first, pod("a", "db")).expect("replaced");
    assert_eq!(first["metadata"]["resourceVersion"], "1");
    assert_eq!(second["metadata"]["resourceVersion"], "2");
    let third = store.replace("pods", &key("a"), &second, pod("a", "db")).expect("accepted");
    assert!(Arc::ptr_eq(&second, &third));
    assert_eq!(store.revision(), 2);
}

#[test]
fn a_write_based_on_an_old_state_is_refused() {
    let store = Store::default();
    let first = store.insert("pods", &key("a"), pod("a", "web")).expect("inserted");
    store.replace("pods", &key("a"), &first, pod("a", "db")).expect("replaced");
    assert_eq!(store.replace("pods", &key("a"), &first, pod("a", "x")), Err(WriteError::Raced));
    assert_eq!(store.remove("pods", &key("a"), &first), Err(WriteError::Raced));
    assert_eq!(store.insert("pods", &key("a"), pod("a", "x")), Err(WriteError::Exists));
}

#[test]
fn a_list_of_the_past_undoes_what_came_later() {
    let store = Store::default();
    let a = store.insert("pods", &key("a"), pod("a", "web")).expect("inserted");
    store.insert("pods", &key("b"), pod("b", "web")).expect("inserted");
    let then = store.revision();
    store.remove("pods", &key("a"), &a).expect("removed");
    store.insert("pods", &key("c"), pod("c", "web")).expect("inserted");
    let past = store.list_at("pods", Some("shop"), then).expect("not compacted");
    assert_eq!(names(&past.objects), ["a", "b"]);
    assert_eq!(names(&store.list("pods", Some("shop")).objects), ["b", "c"]);
    store.compact(store.revision());
    assert!(store.list_at("pods", Some("shop"), then).is_err());
}

#[test]
fn a_feed_tells_what_enters_and_what_leaves_the_watched_set() {
    let store = Arc::new(Store::default());
    let filter = Box::new(|o: &Value| o["metadata"]["labels"]["app"] == "web");
    let (initial, mut feed) = Feed::from_now(store.clone(), "pods", None, filter);
    assert!(initial.is_empty());
    let a = store.insert("pods", &key("a"), pod("a", "db")).expect("inserted");
    let b = store.replace("pods", &key("a"), &a, pod("a", "web")).expect("replaced");
    store.replace("pods", &key("a"), &b, pod("a", "db")).expect("replaced");
    let kinds: Vec<ChangeKind> = feed.poll().expect("not compacted").iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Deleted]);
    assert!(feed.poll().expect("not compacted").is_empty());
}

#[test]
fn a_feed_behind_the_log_learns_that_it_must_list_again() {
    let store = Arc::new(Store::default());
    store.insert("pods", &key("a"), pod("a", "web")).expect("inserted");
    store.insert("pods", &key("b"), pod("b", "web")).expect("inserted");
    let mut feed = Feed::resume(store.clone(), "pods", Box::new(|_| true), 1);
    store.compact(store.revision());
    assert!(feed.poll().is_err());
}

#[test]
fn dependents_are_found_by_the_uid_of_their_owner() {
    let store = Store::default();
    let mut child = pod("child", "web");
    child["metadata"]["ownerReferences"] = json!([{"uid": "parent"}]);
    let stored = store.insert("pods", &key("child"), child).expect("inserted");
    assert_eq!(store.dependents("parent").len(), 1);
    store.remove("pods", &key("child"), &stored).expect("removed");
    assert!(store.dependents("parent").is_empty());
}

/// What a test does to one of a few objects.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6u8, 0..4u8).prop_map(|(name, value)| Step::Put(name, value)),
        1 => (0..6u8).prop_map(Step::Remove),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Names and values of a list.
fn content(objects: &[Arc<Value>]) -> Vec<(String, u64)> {
    let name = |o: &Value| o["metadata"]["name"].as_str().expect("a name").to_owned();
    objects.iter().map(|o| (name(o), o["value"].as_u64().expect("a value"))).collect()
}

fn run(store: &Store, step: &Step) {
    let (Step::Put(name, _) | Step::Remove(name)) = step;
    let key = key(&format!("o{name}"));
    let live = store.get("pods", &key);
    match (step, live) {
        (Step::Put(_, value), live) => {
            let mut object = pod(&key.name, "x");
            object["value"] = json!(value);
            match live {
                Some(live) => store.replace("pods", &key, &live, object).map(drop).expect("replaced"),
                None => store.insert("pods", &key, object).map(drop).expect("inserted"),
            }
        }
        (Step::Remove(_), Some(live)) => store.remove("pods", &key, &live).map(drop).expect("removed"),
        (Step::Remove(_), None) => {}
    }
}

proptest! {
    /// Every past revision lists as it was, and replaying a feed from it gives the present.
    #[test]
    fn the_past_is_as_it_was_and_leads_to_the_present(steps in steps()) {
        let store = Arc::new(Store::default());
        let mut history = vec![(0, Vec::new())];
        for step in &steps {
            run(&store, step);
            history.push((store.revision(), content(&store.list("pods", None).objects)));
        }
        let present: BTreeMap<String, u64> = content(&store.list("pods", None).objects).into_iter().collect();
        for (revision, expected) in history {
            let past = store.list_at("pods", None, revision).expect("not compacted");
            prop_assert_eq!(&content(&past.objects), &expected);
            let mut replayed: BTreeMap<String, u64> = expected.into_iter().collect();
            let mut feed = Feed::resume(store.clone(), "pods", Box::new(|_| true), revision);
            for event in feed.poll().expect("not compacted") {
                let (name, value) = content(std::slice::from_ref(&event.object)).remove(0);
                match event.kind {
                    ChangeKind::Deleted => drop(replayed.remove(&name)),
                    _ => drop(replayed.insert(name, value)),
                }
            }
            prop_assert_eq!(&replayed, &present);
        }
    }
}
