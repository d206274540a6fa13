use super::*;
use crate::controllers::testing::{deployment, world};

/// Plays the deployment and ReplicaSet controllers against each other, with pods that become ready at once.
struct Play {
    deployment: Value,
    sets: Vec<Value>,
    version: u64,
    now: Timestamp,
    least_available: i64,
    most_pods: i64,
}

impl Play {
    fn new(deployment: Value) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { deployment, sets: Vec::new(), version: 10, now, least_available: i64::MAX, most_pods: 0 }
    }

    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }

    fn plan(&self) -> Plan {
        let mut objects = vec![(Kind::Deployment, &self.deployment)];
        objects.extend(self.sets.iter().map(|set| (Kind::ReplicaSet, set)));
        plan(&world(&objects), &Key::of(&self.deployment), self.now)
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Create(_, mut object) => {
                object["metadata"]["uid"] = json!(format!("uid-{}", object::name(&object)));
                object["metadata"]["generation"] = json!(1);
                object["metadata"]["creationTimestamp"] =
                    json!(format!("2026-01-01T00:00:{:02}Z", self.sets.len()));
                self.stamp(&mut object);
                self.sets.push(object);
            }
            Action::Patch(kind, key, patch) | Action::PatchStatus(kind, key, patch) => {
                let mut object = if kind == Kind::Deployment {
                    self.deployment.clone()
                } else {
                    self.sets.iter().find(|set| Key::of(set) == key).unwrap().clone()
                };
                json_patch_merge(&mut object, &patch);
                self.stamp(&mut object);
                if kind == Kind::Deployment {
                    self.deployment = object;
                } else {
                    let slot = self.sets.iter_mut().find(|set| Key::of(set) == key).unwrap();
                    *slot = object;
                }
            }
            Action::Delete(_, key, _) => self.sets.retain(|set| Key::of(set) != key),
        }
    }

    /// Pods follow `spec.replicas` at once; at most `per_round` become available in a round.
    fn run_replica_sets(&mut self, per_round: i64) {
        for index in 0..self.sets.len() {
            let mut set = self.sets[index].clone();
            let wanted = rollout::size(&set);
            let available = reported(&set, "availableReplicas");
            let available = available.min(wanted) + (wanted - available).clamp(0, per_round);
            set["status"] =
                json!({ "replicas": wanted, "readyReplicas": available, "availableReplicas": available });
            self.stamp(&mut set);
            self.sets[index] = set;
        }
        let sum = |field: &str| self.sets.iter().map(|set| reported(set, field)).sum::<i64>();
        self.least_available = self.least_available.min(sum("availableReplicas"));
        self.most_pods = self.most_pods.max(sum("replicas"));
    }

    fn settle(&mut self, per_round: i64) {
        for _ in 0..100 {
            let plan = self.plan();
            let idle = plan.actions.is_empty();
            for action in plan.actions {
                self.apply(action);
            }
            let before = self.sets.clone();
            self.run_replica_sets(per_round);
            let same = before.iter().zip(&self.sets).all(|(a, b)| a["status"] == b["status"]);
            if idle && same {
                return;
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    fn sizes(&self) -> Vec<i64> {
        self.sets.iter().map(rollout::size).collect()
    }

    fn reason(&self, kind: &str) -> &str {
        object::text(object::condition(&self.deployment, kind).unwrap(), "/reason")
    }
}

fn json_patch_merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    json_patch_merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target @ Value::Null, Value::Object(_)) => {
            *target = json!({});
            json_patch_merge(target, patch);
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn change_image(play: &mut Play, image: &str) {
    play.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    let generation = object::generation(&play.deployment) + 1;
    play.deployment["metadata"]["generation"] = json!(generation);
}

#[test]
fn a_new_deployment_settles_available_and_observed() {
    let mut play = Play::new(deployment(3, "a"));
    play.settle(1);
    assert_eq!(play.sizes(), [3]);
    let status = &play.deployment["status"];
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!((&status["updatedReplicas"], &status["availableReplicas"]), (&json!(3), &json!(3)));
    assert_eq!(play.reason("Available"), "MinimumReplicasAvailable");
    assert_eq!(play.reason("Progressing"), "NewReplicaSetAvailable");
    assert_eq!(revision(&play.deployment), 1);
    let set = &play.sets[0];
    assert_eq!(set["spec"]["selector"]["matchLabels"][HASH_LABEL], set["metadata"]["labels"][HASH_LABEL]);
}

#[test]
fn a_rolling_update_keeps_within_surge_and_unavailability() {
    let mut play = Play::new(deployment(4, "a"));
    play.settle(4);
    (play.least_available, play.most_pods) = (i64::MAX, 0);
    change_image(&mut play, "b");
    play.settle(1);
    assert_eq!(play.sizes(), [0, 4]);
    assert_eq!((play.least_available, play.most_pods), (3, 5), "25 % of 4 each way");
    assert_eq!(revision(&play.deployment), 2);
    assert_eq!(play.deployment["status"]["observedGeneration"], 2);
}

#[test]
fn recreate_never_runs_two_versions() {
    let mut play = Play::new(deployment(2, "a"));
    play.deployment["spec"]["strategy"] = json!({ "type": "Recreate" });
    play.settle(2);
    play.most_pods = 0;
    change_image(&mut play, "b");
    play.settle(2);
    assert_eq!((play.sizes(), play.most_pods), (vec![0, 2], 2));
}

#[test]
fn a_rollback_reuses_the_old_replica_set_as_the_newest_revision() {
    let mut play = Play::new(deployment(1, "a"));
    play.settle(1);
    change_image(&mut play, "b");
    play.settle(1);
    change_image(&mut play, "a");
    play.settle(1);
    assert_eq!(play.sizes(), [1, 0]);
    assert_eq!((revision(&play.sets[0]), revision(&play.deployment)), (3, 3));
    assert_eq!(object::annotation(&play.sets[0], REVISION_HISTORY), Some("1"));
}

#[test]
fn old_replica_sets_beyond_the_history_limit_are_deleted() {
    let mut play = Play::new(deployment(1, "a"));
    play.deployment["spec"]["revisionHistoryLimit"] = json!(1);
    for image in ["a", "b", "c", "d"] {
        change_image(&mut play, image);
        play.settle(1);
    }
    assert_eq!(play.sizes(), [0, 1]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut play = Play::new(deployment(2, "a"));
    play.settle(2);
    play.deployment["spec"]["paused"] = json!(true);
    change_image(&mut play, "b");
    play.settle(2);
    assert_eq!((play.sizes(), play.reason("Progressing")), (vec![2], "DeploymentPaused"));
    play.deployment["spec"]["replicas"] = json!(3);
    play.settle(2);
    assert_eq!(play.sizes(), [3]);
    play.deployment["spec"]["paused"] = json!(false);
    play.settle(2);
    assert_eq!(play.sizes(), [0, 3]);
}

#[test]
fn a_rollout_without_progress_misses_its_deadline() {
    let mut play = Play::new(deployment(1, "a"));
    play.deployment["spec"]["progressDeadlineSeconds"] = json!(30);
    play.settle(0);
    let waiting = play.plan();
    let deadline = waiting.again_at.unwrap();
    assert!(deadline <= play.now + jiff::SignedDuration::from_secs(30));
    play.now = deadline;
    play.settle(0);
    assert_eq!(play.reason("Progressing"), "ProgressDeadlineExceeded");
    play.settle(1);
    assert_eq!(play.reason("Progressing"), "NewReplicaSetAvailable");
}

#[test]
fn scaling_while_stable_changes_only_the_size() {
    let mut play = Play::new(deployment(2, "a"));
    play.settle(2);
    for replicas in [5, 0, 1] {
        play.deployment["spec"]["replicas"] = json!(replicas);
        play.settle(5);
        assert_eq!(play.sizes(), [replicas]);
        assert_eq!(play.reason("Progressing"), "NewReplicaSetAvailable");
    }
    assert_eq!(revision(&play.deployment), 1);
}
