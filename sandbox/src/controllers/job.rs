//! Jobs: pods run until enough have succeeded (`completions`, `parallelism`) or too many have failed (`backoffLimit`).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::world::{Kind, World};

/// Failed pods tolerated unless `spec.backoffLimit` says otherwise.
const BACKOFF_LIMIT: i64 = 6;
/// Wait before the pod that replaces the first failed one; doubles with each failure.
const BACKOFF: SignedDuration = SignedDuration::from_secs(10);

/// Plans one Job.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(job) = world.object(Kind::Job, key) else { return plan };
    if object::is_deleting(job) || object::flag(job, "/spec/suspend") {
        return plan;
    }
    let pods: Vec<_> = world
        .in_namespace(Kind::Pod, &key.namespace)
        .filter(|pod| object::is_controlled_by(pod, job))
        .cloned()
        .collect();
    let phase =
        |wanted: &str| pods.iter().filter(|pod| object::text(pod, "/status/phase") == wanted).count() as i64;
    let (succeeded, failed) = (phase("Succeeded"), phase("Failed"));
    let active: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
    let is_over = object::is_true(job, "Complete") || object::is_true(job, "Failed");
    let parallelism = object::int(job, "/spec/parallelism").unwrap_or(1);
    let completions = object::int(job, "/spec/completions").unwrap_or(parallelism);
    let limit = object::int(job, "/spec/backoffLimit").unwrap_or(BACKOFF_LIMIT);
    let ending = if is_over {
        None
    } else if succeeded >= completions {
        Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    } else if failed > limit {
        Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else {
        None
    };
    if is_over || ending.is_some() {
        for pod in &active {
            plan.push(Action::Delete(Kind::Pod, Key::of(pod), object::uid(pod).to_owned()));
        }
    } else if failed > 0 && active.is_empty() && now < retry_at(&pods, failed) {
        plan.look_again(retry_at(&pods, failed));
    } else {
        let missing = (completions - succeeded).min(parallelism) - active.len() as i64;
        for _ in 0..missing.max(0) {
            plan.push(Action::Create(Kind::Pod, pod(job)));
        }
    }
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count() as i64;
    let active = if ending.is_some() { 0 } else { active.len() as i64 };
    plan_status(
        job,
        [("active", active), ("ready", ready), ("succeeded", succeeded), ("failed", failed)],
        ending,
        now,
        &mut plan,
    );
    plan
}

fn pod(job: &Value) -> Value {
    let (name, uid) = (object::name(job), object::uid(job));
    let labels = [
        ("job-name", name),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("batch.kubernetes.io/controller-uid", uid),
    ];
    pods::from_template(job, "batch/v1", "Job", &labels)
}

fn retry_at(pods: &[std::sync::Arc<Value>], failed: i64) -> Timestamp {
    let ended = |pod: &Value| {
        object::items(pod, "/status/containerStatuses")
            .iter()
            .filter_map(|status| object::time(status, "/state/terminated/finishedAt"))
            .max()
    };
    let last = pods.iter().filter_map(|pod| ended(pod)).max().unwrap_or(Timestamp::UNIX_EPOCH);
    let doublings = u32::try_from(failed - 1).unwrap_or_default().min(5);
    last + BACKOFF * 2_i32.pow(doublings)
}

fn plan_status(
    job: &Value,
    counts: [(&str, i64); 4],
    ending: Option<(&str, &str, &str)>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let started = object::text(job, "/status/startTime");
    let mut status =
        json!({ "startTime": if started.is_empty() { object::stamp(now) } else { started.to_owned() } });
    for (field, count) in counts {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    for kept in ["conditions", "completionTime"] {
        if let Some(value) = job.pointer(&format!("/status/{kept}")) {
            status[kept] = value.clone();
        }
    }
    if let Some((kind, reason, message)) = ending {
        let at = object::stamp(now);
        status["conditions"] = json!([{
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastProbeTime": at, "lastTransitionTime": at,
        }]);
        if kind == "Complete" {
            status["completionTime"] = json!(at);
        }
    }
    if job.get("status") != Some(&status) {
        plan.push(Action::PatchStatus(Kind::Job, Key::of(job), object::status_patch(job, status)));
    }
}

#[cfg(test)]
mod tests;
