//! DaemonSets: one pod on every node that may run it, replaced a few at a time when the template changes. The rules are those
//! of the Kubernetes daemon set controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::revisions::{self, HASH_LABEL, Revisions};
use super::world::{Kind, World};

/// Taints that the node's own state causes; daemons stay.
const OWN_TAINTS: &str = "node.kubernetes.io/";

/// A DaemonSet with its pods, as one planning round sees it.
struct View<'a> {
    set: &'a Value,
    /// Pods by node, of the nodes that should have one.
    wanted: BTreeMap<String, Vec<Arc<Value>>>,
    /// Pods on nodes that should have none.
    misplaced: Vec<Arc<Value>>,
    revisions: Revisions,
    now: Timestamp,
}

/// Plans one DaemonSet.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(set) = world.object(Kind::DaemonSet, key) else { return plan };
    if object::is_deleting(set) {
        return plan;
    }
    let revisions = revisions::sync(world, set, "DaemonSet", &mut plan);
    let nodes = world.all(Kind::Node).filter(|node| may_run(set, node));
    let mut wanted: BTreeMap<_, Vec<_>> =
        nodes.map(|node| (object::name(node).to_owned(), Vec::new())).collect();
    let mut misplaced = Vec::new();
    for pod in pods::claim(world, set, "apps/v1", "DaemonSet", &mut plan) {
        match wanted.get_mut(object::text(&pod, "/spec/nodeName")) {
            Some(pods) => pods.push(pod),
            None => misplaced.push(pod),
        }
    }
    let view = View { set, wanted, misplaced, revisions, now };
    view.place(&mut plan);
    if object::text(set, "/spec/updateStrategy/type") != "OnDelete" {
        view.roll(&mut plan);
    }
    let status = view.status(&mut plan);
    if set.get("status") != Some(&status) {
        plan.push(Action::PatchStatus(Kind::DaemonSet, key.clone(), object::status_patch(set, status)));
    }
    let live: Vec<String> = view.all().map(|pod| format!("{}-{}", key.name, hash(pod))).collect();
    let live: Vec<&str> = live.iter().map(String::as_str).collect();
    view.revisions.clean_up(set, &live, &mut plan);
    plan
}

/// Do the node's labels and taints admit a daemon?
fn may_run(set: &Value, node: &Value) -> bool {
    let selector = object::map(set, "/spec/template/spec/nodeSelector");
    let labels = object::map(node, "/metadata/labels");
    let is_selected = selector
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    let tolerations = object::items(set, "/spec/template/spec/tolerations");
    is_selected
        && object::items(node, "/spec/taints").iter().all(|taint| {
            object::text(taint, "/effect") == "PreferNoSchedule"
                || object::text(taint, "/key").starts_with(OWN_TAINTS)
                || tolerations.iter().any(|toleration| tolerates(toleration, taint))
        })
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let is_same = |field: &str| object::text(toleration, field) == object::text(taint, field);
    let key = object::text(toleration, "/key");
    let exists = object::text(toleration, "/operator") == "Exists";
    (object::text(toleration, "/effect").is_empty() || is_same("/effect"))
        && if key.is_empty() { exists } else { is_same("/key") && (exists || is_same("/value")) }
}

fn hash(pod: &Value) -> &str {
    object::map(pod, "/metadata/labels")
        .and_then(|labels| labels.get(HASH_LABEL))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl View<'_> {
    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.wanted.values().flatten().chain(&self.misplaced)
    }

    fn is_new(&self, pod: &Value) -> bool {
        hash(pod) == self.revisions.hash
    }

    fn is_available(&self, pod: &Value, plan: &mut Plan) -> bool {
        let min_ready = object::int(self.set, "/spec/minReadySeconds").unwrap_or_default();
        match pods::available_from(pod, min_ready).filter(|_| pods::is_active(pod)) {
            Some(from) if min_ready == 0 || from <= self.now => true,
            Some(from) => {
                plan.look_again(from);
                false
            }
            None => false,
        }
    }

    /// A number of the rolling update: of nodes, or a percentage of them.
    fn amount(&self, field: &str, default: i64) -> usize {
        let nodes = self.wanted.len();
        let value = self.set.pointer(&format!("/spec/updateStrategy/rollingUpdate/{field}"));
        let amount = match value {
            Some(Value::String(percent)) => percent
                .strip_suffix('%')
                .and_then(|percent| percent.parse::<usize>().ok())
                .map(|percent| (percent * nodes).div_ceil(100)),
            Some(number) => number.as_i64().and_then(|number| usize::try_from(number).ok()),
            None => None,
        };
        amount.unwrap_or_else(|| usize::try_from(default).unwrap_or_default())
    }

    /// One pod on each wanted node, none elsewhere; what has ended is replaced.
    fn place(&self, plan: &mut Plan) {
        for pod in self.misplaced.iter().filter(|pod| !object::is_deleting(pod)) {
            self.delete(pod, plan);
        }
        for (node, pods) in &self.wanted {
            if pods.is_empty() {
                plan.push(Action::Create(Kind::Pod, self.pod(node)));
            }
            for is_new in [true, false] {
                let mut alike: Vec<_> = pods.iter().filter(|pod| self.is_new(pod) == is_new).collect();
                alike.retain(|pod| !object::is_deleting(pod));
                for pod in alike.iter().filter(|pod| pods::is_finished(pod)) {
                    self.delete(pod, plan);
                }
                alike.retain(|pod| !pods::is_finished(pod));
                // The oldest stays.
                alike.sort_by_key(|pod| object::text(pod, "/metadata/creationTimestamp").to_owned());
                for pod in alike.iter().skip(1) {
                    self.delete(pod, plan);
                }
            }
        }
    }

    /// Replaces pods of old templates: beside them as `maxSurge` allows, else instead of them as `maxUnavailable` does.
    fn roll(&self, plan: &mut Plan) {
        let surge = self.amount("maxSurge", 0);
        let mut unavailable = 0;
        let mut surging = 0;
        let mut candidates = Vec::new();
        for (node, pods) in &self.wanted {
            let active: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
            let old = active.iter().find(|pod| !self.is_new(pod));
            let new = active.iter().find(|pod| self.is_new(pod));
            let is_new_available = new.is_some_and(|pod| self.is_available(pod, plan));
            let is_old_available = old.is_some_and(|pod| self.is_available(pod, plan));
            unavailable += usize::from(!is_new_available && !is_old_available);
            match (old, new) {
                (Some(old), Some(_)) if is_new_available => self.delete(old, plan),
                (Some(_), Some(_)) => surging += 1,
                (Some(old), None) if !is_old_available => self.delete(old, plan),
                (Some(old), None) => candidates.push((node, *old)),
                (None, _) => {}
            }
        }
        if surge > 0 {
            for (node, _) in candidates.into_iter().take(surge.saturating_sub(surging)) {
                plan.push(Action::Create(Kind::Pod, self.pod(node)));
            }
        } else {
            let allowed = self.amount("maxUnavailable", 1).saturating_sub(unavailable);
            for (_, old) in candidates.into_iter().take(allowed) {
                self.delete(old, plan);
            }
        }
    }

    fn delete(&self, pod: &Value, plan: &mut Plan) {
        let action = Action::Delete(Kind::Pod, Key::of(pod), object::uid(pod).to_owned());
        if !plan.actions.contains(&action) {
            plan.push(action);
        }
    }

    /// Bound to its node at once: the controller's choice is the scheduler's too.
    fn pod(&self, node: &str) -> Value {
        let labels = [(HASH_LABEL, self.revisions.hash.as_str())];
        let mut pod = pods::from_template(self.set, "apps/v1", "DaemonSet", &labels);
        pod["spec"]["nodeName"] = json!(node);
        pod
    }

    fn status(&self, plan: &mut Plan) -> Value {
        let mut counts = [0; 4];
        for pods in self.wanted.values() {
            let active: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
            let is_available = active.iter().any(|pod| self.is_available(pod, plan));
            let facts = [
                !active.is_empty(),
                active.iter().any(|pod| pods::is_ready(pod)),
                active.iter().any(|pod| self.is_new(pod)),
                is_available,
            ];
            for (count, fact) in counts.iter_mut().zip(facts) {
                *count += usize::from(fact);
            }
        }
        let [scheduled, ready, updated, available] = counts;
        let mut status = json!({
            "observedGeneration": object::generation(self.set), "desiredNumberScheduled": self.wanted.len(),
            "currentNumberScheduled": scheduled, "numberReady": ready,
            "numberMisscheduled": self.misplaced.iter().filter(|pod| pods::is_active(pod)).count(),
        });
        let unavailable = self.wanted.len() - available;
        for (field, count) in [
            ("updatedNumberScheduled", updated),
            ("numberAvailable", available),
            ("numberUnavailable", unavailable),
        ] {
            if count > 0 {
                status[field] = json!(count);
            }
        }
        status
    }
}

#[cfg(test)]
mod tests;
