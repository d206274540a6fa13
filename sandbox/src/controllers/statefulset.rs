//! StatefulSets: pods with stable names, made one after the other when the policy says so, and updated from the last to the
//! first. The rules are those of the Kubernetes stateful set controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::pods;
use super::revisions::{self, HASH_LABEL, Revisions};
use super::world::{Kind, World};

/// Label with the pod's own name, so that a Service can select one pod.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label with the pod's number.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A StatefulSet with its pods, as one planning round sees it.
struct View<'a> {
    set: &'a Value,
    /// By number.
    pods: BTreeMap<i64, Arc<Value>>,
    revisions: Revisions,
    /// The revision that pods below the partition have.
    current: String,
    first: i64,
    replicas: i64,
    now: Timestamp,
}

/// Plans one StatefulSet.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(set) = world.object(Kind::StatefulSet, key) else { return plan };
    if object::is_deleting(set) {
        return plan;
    }
    let claimed = pods::claim(world, set, "apps/v1", "StatefulSet", &mut plan);
    let own = |pod: &Arc<Value>| Some((number(&key.name, object::name(pod))?, pod.clone()));
    let revisions = revisions::sync(world, set, "StatefulSet", &mut plan);
    let current = match object::text(set, "/status/currentRevision") {
        "" => revisions.name.clone(),
        name => name.to_owned(),
    };
    let view = View {
        set,
        pods: claimed.iter().filter_map(own).collect(),
        revisions,
        current,
        first: object::int(set, "/spec/ordinals/start").unwrap_or_default(),
        replicas: object::int(set, "/spec/replicas").unwrap_or(1),
        now,
    };
    if view.fill(&mut plan) && view.shrink(&mut plan) {
        view.roll(&mut plan);
    }
    let status = view.status(&mut plan);
    if set.get("status") != Some(&status) {
        plan.push(Action::PatchStatus(Kind::StatefulSet, key.clone(), object::status_patch(set, status)));
    }
    let held: Vec<&str> = view.pods.values().map(|pod| revision(pod)).collect();
    let live: Vec<&str> = held.into_iter().chain([view.current.as_str()]).collect();
    view.revisions.clean_up(set, &live, &mut plan);
    plan
}

/// The number at the end of a pod's name.
fn number(set: &str, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn revision(pod: &Value) -> &str {
    object::map(pod, "/metadata/labels")
        .and_then(|labels| labels.get(HASH_LABEL))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_healthy(pod: &Value) -> bool {
    object::text(pod, "/status/phase") == "Running" && pods::is_ready(pod) && !object::is_deleting(pod)
}

impl View<'_> {
    fn is_ordered(&self) -> bool {
        object::text(self.set, "/spec/podManagementPolicy") != "Parallel"
    }

    fn wanted(&self) -> std::ops::Range<i64> {
        self.first..self.first + self.replicas
    }

    fn partition(&self) -> i64 {
        self.first + object::int(self.set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default()
    }

    /// Healthy for `minReadySeconds`? If time alone is missing, the plan looks again.
    fn is_available(&self, pod: &Value, plan: &mut Plan) -> bool {
        let min_ready = object::int(self.set, "/spec/minReadySeconds").unwrap_or_default();
        match pods::available_from(pod, min_ready).filter(|_| is_healthy(pod)) {
            Some(from) if min_ready == 0 || from <= self.now => true,
            Some(from) => {
                plan.look_again(from);
                false
            }
            None => false,
        }
    }

    /// Makes the pods that are missing and removes those that have ended, which follow under the same name. False while
    /// what comes next has to wait for them.
    fn fill(&self, plan: &mut Plan) -> bool {
        let mut may_go_on = true;
        for ordinal in self.wanted() {
            let is_settled = match self.pods.get(&ordinal) {
                None => {
                    plan.push(Action::Create(Kind::Pod, self.pod(ordinal)));
                    false
                }
                Some(pod) if object::is_deleting(pod) => false,
                Some(pod) if pods::is_finished(pod) => {
                    self.delete(pod, plan);
                    false
                }
                Some(pod) => self.is_available(pod, plan),
            };
            if !is_settled && self.is_ordered() {
                return false;
            }
            may_go_on &= is_settled || !self.is_ordered();
        }
        may_go_on
    }

    /// Removes pods outside the wanted numbers, the last first.
    fn shrink(&self, plan: &mut Plan) -> bool {
        let wanted = self.wanted();
        let condemned: Vec<_> =
            self.pods.iter().rev().filter(|(number, _)| !wanted.contains(number)).collect();
        for (_, pod) in &condemned {
            if !object::is_deleting(pod) {
                self.delete(pod, plan);
            }
            if self.is_ordered() {
                return false;
            }
        }
        condemned.is_empty()
    }

    /// Replaces one pod of an old revision, the last first, once those after it are well.
    fn roll(&self, plan: &mut Plan) {
        if object::text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        for ordinal in (self.wanted().start.max(self.partition())..self.wanted().end).rev() {
            let Some(pod) = self.pods.get(&ordinal) else { return };
            if revision(pod) != self.revisions.name && !object::is_deleting(pod) {
                self.delete(pod, plan);
                return;
            }
            if !self.is_available(pod, plan) {
                return;
            }
        }
    }

    fn delete(&self, pod: &Value, plan: &mut Plan) {
        plan.push(Action::Delete(Kind::Pod, Key::of(pod), object::uid(pod).to_owned()));
    }

    fn pod(&self, ordinal: i64) -> Value {
        let name = format!("{}-{ordinal}", object::name(self.set));
        let old = (ordinal < self.partition() && self.current != self.revisions.name)
            .then(|| self.revisions.template(&self.current))
            .flatten();
        let revision = if old.is_some() { &self.current } else { &self.revisions.name };
        let mut owner = self.set.clone();
        if let Some(template) = old {
            owner["spec"]["template"] = template;
        }
        let number = ordinal.to_string();
        let labels = [(POD_NAME, name.as_str()), (POD_INDEX, &number), (HASH_LABEL, revision)];
        let mut pod = pods::from_template(&owner, "apps/v1", "StatefulSet", &labels);
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("generateName");
            metadata.insert("name".to_owned(), json!(name));
        }
        pod["spec"]["hostname"] = json!(name);
        let service = object::text(self.set, "/spec/serviceName");
        if !service.is_empty() {
            pod["spec"]["subdomain"] = json!(service);
        }
        let claims = object::items(self.set, "/spec/volumeClaimTemplates");
        let mut volumes = object::items(&pod, "/spec/volumes").to_vec();
        for claim in claims.iter().map(object::name) {
            volumes.retain(|volume| object::text(volume, "/name") != claim);
            let source = json!({ "claimName": format!("{claim}-{name}") });
            volumes.push(json!({ "name": claim, "persistentVolumeClaim": source }));
        }
        if !volumes.is_empty() {
            pod["spec"]["volumes"] = json!(volumes);
        }
        pod
    }

    fn status(&self, plan: &mut Plan) -> Value {
        let count = |matches: &dyn Fn(&Value) -> bool| self.pods.values().filter(|pod| matches(pod)).count();
        let of = |name: &str| count(&|pod| revision(pod) == name && !object::is_deleting(pod));
        let replicas = self.pods.len();
        let ready = count(&|pod| object::text(pod, "/status/phase") == "Running" && pods::is_ready(pod));
        let available = self.pods.values().filter(|pod| self.is_available(pod, plan)).count();
        let updated = of(&self.revisions.name);
        let is_complete = [updated, ready, available] == [replicas; 3]
            && i64::try_from(replicas) == Ok(self.replicas)
            && object::text(self.set, "/spec/updateStrategy/type") != "OnDelete";
        let current = if is_complete { &self.revisions.name } else { &self.current };
        let mut status = json!({
            "observedGeneration": object::generation(self.set), "replicas": replicas,
            "availableReplicas": available, "collisionCount": 0,
            "currentRevision": current, "updateRevision": self.revisions.name,
        });
        for (field, count) in
            [("readyReplicas", ready), ("currentReplicas", of(current)), ("updatedReplicas", updated)]
        {
            if count > 0 {
                status[field] = json!(count);
            }
        }
        status
    }
}

#[cfg(test)]
mod tests;
