use super::*;
use crate::controllers::testing::{pod_of, ready, replica_set, world};

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

#[test]
fn missing_pods_are_created_from_the_template_with_a_controller_reference() {
    let set = replica_set("web-1", 2, None);
    let plan = plan(&world(&[(Kind::ReplicaSet, &set)]), &Key::of(&set), now());
    let created: Vec<_> =
        plan.actions.iter().filter(|action| matches!(action, Action::Create(Kind::Pod, _))).collect();
    assert_eq!(created.len(), 2);
    let Action::Create(_, pod) = created[0] else { unreachable!() };
    assert_eq!(pod["metadata"]["generateName"], "web-1-");
    assert_eq!(pod["metadata"]["labels"]["app"], "web");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
    assert_eq!(pod["spec"]["containers"][0]["name"], "main");
}

#[test]
fn surplus_pods_are_deleted_unready_ones_first() {
    let set = replica_set("web-1", 1, None);
    let (good, bad) = (ready(pod_of(&set, "a")), pod_of(&set, "b"));
    let plan = plan(
        &world(&[(Kind::ReplicaSet, &set), (Kind::Pod, &good), (Kind::Pod, &bad)]),
        &Key::of(&set),
        now(),
    );
    let deleted: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete(Kind::Pod, key, _) => Some(key.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["b"]);
}

#[test]
fn a_pod_counts_as_available_only_after_min_ready_seconds() {
    let mut set = replica_set("web-1", 1, None);
    set["spec"]["minReadySeconds"] = json!(90);
    let pod = ready(pod_of(&set, "a"));
    let world = world(&[(Kind::ReplicaSet, &set), (Kind::Pod, &pod)]);
    let early = plan(&world, &Key::of(&set), now());
    assert_eq!(early.again_at, Some("2026-01-01T00:01:30Z".parse().unwrap()));
    let Some(Action::PatchStatus(_, _, patch)) = early.actions.first() else {
        panic!("no status: {early:?}")
    };
    assert_eq!(
        (&patch["status"]["readyReplicas"], patch["status"].get("availableReplicas")),
        (&json!(1), None)
    );
    let late = plan(&world, &Key::of(&set), "2026-01-01T00:01:30Z".parse().unwrap());
    let Some(Action::PatchStatus(_, _, patch)) = late.actions.first() else { panic!("no status: {late:?}") };
    assert_eq!(patch["status"]["availableReplicas"], 1);
}

#[test]
fn a_refused_pod_shows_as_replica_failure() {
    let set = replica_set("web-1", 1, None);
    let mut world = world(&[(Kind::ReplicaSet, &set)]);
    world.note_failure(Kind::ReplicaSet, &Key::of(&set), Some("denied by webhook".to_owned()));
    let plan = plan(&world, &Key::of(&set), now());
    let Some(Action::PatchStatus(_, _, patch)) = plan.actions.first() else { panic!("no status") };
    assert_eq!(patch["status"]["conditions"][0]["message"], "denied by webhook");
}

#[test]
fn matching_orphans_are_adopted_and_strangers_released() {
    let set = replica_set("web-1", 2, None);
    let mut orphan = pod_of(&set, "orphan");
    orphan["metadata"]["ownerReferences"] = json!([]);
    let mut stranger = pod_of(&set, "stranger");
    stranger["metadata"]["labels"] = json!({ "app": "other" });
    let world = world(&[(Kind::ReplicaSet, &set), (Kind::Pod, &orphan), (Kind::Pod, &stranger)]);
    let plan = plan(&world, &Key::of(&set), now());
    let patched: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Patch(Kind::Pod, key, patch) => {
                Some((key.name.as_str(), patch["metadata"]["ownerReferences"].clone()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(patched.len(), 2);
    assert_eq!(patched[0].1[0]["uid"], set["metadata"]["uid"]);
    assert_eq!(patched[1], ("stranger", json!([])));
    let created = plan.actions.iter().filter(|action| matches!(action, Action::Create(..))).count();
    assert_eq!(created, 1, "the orphan counts, the stranger does not");
}
