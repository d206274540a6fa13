use super::*;
use crate::controllers::testing::{template, world};

fn owner(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "namespace": "shop", "name": "web", "uid": "owner" },
        "spec": { "revisionHistoryLimit": 1, "template": template(image) },
    })
}

fn revision(image: &str, number: i64) -> Value {
    let mut plan = Plan::default();
    sync(&World::default(), &owner(image), "DaemonSet", &mut plan);
    let [Action::Create(Kind::ControllerRevision, revision)] = &plan.actions[..] else { panic!("{plan:?}") };
    let mut revision = revision.clone();
    revision["metadata"]["uid"] = json!(image);
    revision["revision"] = json!(number);
    revision
}

#[test]
fn a_new_template_is_a_new_revision_and_an_old_one_becomes_the_newest_again() {
    let (first, second) = (revision("a", 1), revision("b", 2));
    let world = world(&[(Kind::ControllerRevision, &first), (Kind::ControllerRevision, &second)]);
    let mut plan = Plan::default();
    let held = sync(&world, &owner("b"), "DaemonSet", &mut plan);
    assert_eq!((plan.actions.len(), held.name.as_str()), (0, object::name(&second)));
    assert_eq!(held.template(object::name(&first)), Some(template("a")));
    let held = sync(&world, &owner("a"), "DaemonSet", &mut plan);
    assert_eq!(held.name, object::name(&first));
    let patch = Action::Patch(Kind::ControllerRevision, Key::of(&first), json!({ "revision": 3 }));
    assert_eq!(plan.actions, [patch]);
    plan.actions.clear();
    sync(&world, &owner("c"), "DaemonSet", &mut plan);
    let [Action::Create(_, third)] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(third["revision"], 3);
    assert_eq!(third["metadata"]["labels"]["app"], "web");
}

#[test]
fn revisions_beyond_the_limit_go_unless_a_pod_has_them() {
    let all: Vec<Value> = ["a", "b", "c", "d"].iter().zip(1..).map(|(image, n)| revision(image, n)).collect();
    let objects: Vec<_> = all.iter().map(|revision| (Kind::ControllerRevision, revision)).collect();
    let mut plan = Plan::default();
    let held = sync(&world(&objects), &owner("d"), "DaemonSet", &mut plan);
    held.clean_up(&owner("d"), &[object::name(&all[0])], &mut plan);
    let deleted = Action::Delete(Kind::ControllerRevision, Key::of(&all[1]), "b".to_owned());
    assert_eq!(plan.actions, [deleted]);
}
