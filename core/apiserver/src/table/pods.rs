//! The columns of pods: what `STATUS`, `READY` and `RESTARTS` mean is decided here, as `kubectl` users know it.

use super::age;
use super::cells::{list, text};
use jiff::Timestamp;
use serde_json::{Value, json};

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn status_of<'a>(pod: &'a Value, key: &str, name: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    list(&pod["status"][key]).iter().find(|s| s["name"] == name).unwrap_or(&NONE)
}

/// Containers that count as running parts of the pod: its own and its sidecars, with their statuses.
fn parts(pod: &Value) -> Vec<&Value> {
    let sidecars = list(&pod["spec"]["initContainers"]).iter().filter(|c| is_sidecar(c));
    let sidecars = sidecars.map(|c| status_of(pod, "initContainerStatuses", text(&c["name"])));
    let own = list(&pod["spec"]["containers"]).iter();
    let own = own.map(|c| status_of(pod, "containerStatuses", text(&c["name"])));
    sidecars.chain(own).collect()
}

pub(super) fn ready(pod: &Value, _: Timestamp) -> Value {
    let parts = parts(pod);
    let up = parts.iter().filter(|s| s["ready"] == true && s["state"]["running"].is_object()).count();
    json!(format!("{up}/{}", parts.len()))
}

pub(super) fn restarts(pod: &Value, now: Timestamp) -> Value {
    let parts = parts(pod);
    let initializing =
        pod["status"]["phase"] == "Pending" && !list(&pod["spec"]["initContainers"]).is_empty();
    let all: Vec<&Value> =
        if initializing && status(pod, now).as_str().is_some_and(|s| s.starts_with("Init:")) {
            list(&pod["status"]["initContainerStatuses"]).iter().collect()
        } else {
            parts
        };
    let count: i64 = all.iter().filter_map(|s| s["restartCount"].as_i64()).sum();
    let finished = all.iter().filter_map(|s| s["lastState"]["terminated"]["finishedAt"].as_str()).max();
    match finished {
        Some(last) if count > 0 => json!(format!("{count} ({} ago)", age::since(&json!(last), now))),
        _ => json!(count.to_string()),
    }
}

pub(super) fn status(pod: &Value, _: Timestamp) -> Value {
    let status = &pod["status"];
    let mut reason = text(&status["phase"]).to_owned();
    if !text(&status["reason"]).is_empty() {
        reason = text(&status["reason"]).to_owned();
    }
    let gated = list(&status["conditions"])
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    if gated {
        reason = "SchedulingGated".into();
    }
    let initializing = init_reason(pod);
    match initializing {
        Some(waiting) => reason = waiting,
        None => {
            let mut running = false;
            for container in list(&status["containerStatuses"]).iter().rev() {
                let state = &container["state"];
                let (waiting, ended) = (&state["waiting"], &state["terminated"]);
                if !text(&waiting["reason"]).is_empty() {
                    reason = text(&waiting["reason"]).to_owned();
                } else if ended.is_object() {
                    reason = termination(ended, "");
                } else if container["ready"] == true && state["running"].is_object() {
                    running = true;
                }
            }
            if reason == "Completed" && running {
                let ready =
                    list(&status["conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
                reason = if ready { "Running".into() } else { "NotReady".into() };
            }
        }
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        reason = if status["reason"] == "NodeLost" { "Unknown".into() } else { "Terminating".into() };
    }
    json!(if reason.is_empty() { "Unknown".to_owned() } else { reason })
}

/// What an unfinished initialization is waiting for; `None` once it is over.
fn init_reason(pod: &Value) -> Option<String> {
    let containers = list(&pod["spec"]["initContainers"]);
    for (done, container) in containers.iter().enumerate() {
        let name = text(&container["name"]);
        let status = status_of(pod, "initContainerStatuses", name);
        if status.is_null() && list(&pod["status"]["initContainerStatuses"]).is_empty() {
            return None;
        }
        let state = &status["state"];
        if state["terminated"]["exitCode"] == 0 || (is_sidecar(container) && status["started"] == true) {
            continue;
        }
        if state["terminated"].is_object() {
            return Some(termination(&state["terminated"], "Init:"));
        }
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{done}/{}", containers.len()));
    }
    None
}

fn termination(ended: &Value, prefix: &str) -> String {
    let reason = text(&ended["reason"]);
    if !reason.is_empty() {
        return format!("{prefix}{reason}");
    }
    match ended["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("{prefix}Signal:{signal}"),
        _ => format!("{prefix}ExitCode:{}", ended["exitCode"].as_i64().unwrap_or_default()),
    }
}
