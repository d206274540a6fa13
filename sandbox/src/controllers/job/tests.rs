use super::*;
use crate::controllers::testing::{template, world};

fn job() -> Value {
    json!({ "metadata": { "namespace": "shop", "name": "once", "uid": "job" },
        "spec": { "completions": 2, "parallelism": 1, "backoffLimit": 1, "template": template("a") } })
}

fn pod(name: &str, phase: &str) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": name, "uid": name,
            "ownerReferences": [object::controller_reference(&job(), "batch/v1", "Job")] },
        "status": { "phase": phase },
    })
}

fn plan_with(pods: &[Value]) -> Plan {
    let job = job();
    let mut objects = vec![(Kind::Job, &job)];
    objects.extend(pods.iter().map(|pod| (Kind::Pod, pod)));
    plan(&world(&objects), &Key::of(&job), "2026-01-01T00:00:00Z".parse().unwrap())
}

fn creations(plan: &Plan) -> usize {
    plan.actions.iter().filter(|action| matches!(action, Action::Create(..))).count()
}

fn condition(plan: &Plan) -> Value {
    let status = plan.actions.iter().find_map(|action| match action {
        Action::PatchStatus(_, _, patch) => Some(patch["status"]["conditions"][0]["type"].clone()),
        _ => None,
    });
    status.unwrap_or_default()
}

#[test]
fn pods_run_one_after_the_other_until_complete() {
    assert_eq!(creations(&plan_with(&[])), 1);
    assert_eq!(creations(&plan_with(&[pod("a", "Running")])), 0);
    assert_eq!(creations(&plan_with(&[pod("a", "Succeeded")])), 1);
    let done = plan_with(&[pod("a", "Succeeded"), pod("b", "Succeeded")]);
    assert_eq!((creations(&done), condition(&done)), (0, json!("Complete")));
}

#[test]
fn too_many_failures_fail_the_job() {
    assert_eq!(creations(&plan_with(&[pod("a", "Failed")])), 1);
    let failed = plan_with(&[pod("a", "Failed"), pod("b", "Failed")]);
    assert_eq!((creations(&failed), condition(&failed)), (0, json!("Failed")));
}
