use super::*;
use crate::controllers::testing::{ready, template, world};

/// Plays the controller against pods that start at once and become ready when told.
struct Play {
    set: Value,
    revisions: Vec<Value>,
    pods: Vec<Value>,
    made: usize,
}

impl Play {
    fn new(replicas: i64) -> Self {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "namespace": "shop", "name": "db", "uid": "set", "generation": 1 },
            "spec": {
                "replicas": replicas, "serviceName": "db", "selector": { "matchLabels": { "app": "web" } },
                "template": template("a"),
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
            },
        });
        Self { set, revisions: Vec::new(), pods: Vec::new(), made: 0 }
    }

    fn plan(&self) -> Plan {
        let mut objects = vec![(Kind::StatefulSet, &self.set)];
        objects.extend(self.revisions.iter().map(|revision| (Kind::ControllerRevision, revision)));
        objects.extend(self.pods.iter().map(|pod| (Kind::Pod, pod)));
        plan(&world(&objects), &Key::of(&self.set), "2026-01-01T00:01:00Z".parse().unwrap())
    }

    /// Carries out one plan; answers what it did to pods.
    fn step(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for action in self.plan().actions {
            match action {
                Action::Create(kind, mut object) => {
                    self.made += 1;
                    object["metadata"]["uid"] = json!(format!("uid-{}", self.made));
                    if kind == Kind::Pod {
                        done.push(format!("+{}", object::name(&object)));
                        object["status"] = json!({ "phase": "Running" });
                        self.pods.push(object);
                    } else {
                        self.revisions.push(object);
                    }
                }
                Action::Delete(Kind::Pod, key, _) => {
                    done.push(format!("-{}", key.name));
                    self.pods.retain(|pod| Key::of(pod) != key);
                }
                Action::PatchStatus(Kind::StatefulSet, _, patch) => {
                    let mut status = patch["status"].clone();
                    status.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                    self.set["status"] = status;
                }
                other => panic!("{other:?}"),
            }
        }
        done
    }

    /// Steps, making every pod ready in between, until nothing happens to pods.
    fn settle(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..50 {
            let next = self.step();
            if next.is_empty() {
                self.step();
                return done;
            }
            done.extend(next);
            self.pods = std::mem::take(&mut self.pods).into_iter().map(ready).collect();
        }
        panic!("does not settle: {done:?}");
    }

    fn change(&mut self, image: &str) {
        self.set["spec"]["template"] = template(image);
        self.set["metadata"]["generation"] = json!(object::generation(&self.set) + 1);
    }

    fn images(&self) -> BTreeMap<&str, &str> {
        self.pods
            .iter()
            .map(|pod| (object::name(pod), object::text(pod, "/spec/containers/0/image")))
            .collect()
    }
}

#[test]
fn pods_come_one_after_the_other_with_names_that_stay() {
    let mut play = Play::new(3);
    assert_eq!(play.step(), ["+db-0"]);
    assert_eq!(play.step(), Vec::<String>::new(), "the next waits until the first is ready");
    assert_eq!(play.settle(), Vec::<String>::new());
    play.pods = vec![ready(play.pods[0].clone())];
    assert_eq!(play.settle(), ["+db-1", "+db-2"]);
    let pod = &play.pods[2];
    assert_eq!((object::text(pod, "/spec/hostname"), object::text(pod, "/spec/subdomain")), ("db-2", "db"));
    assert_eq!(pod["metadata"]["labels"][POD_NAME], "db-2");
    assert_eq!(pod["metadata"]["labels"][POD_INDEX], "2");
    let status = &play.set["status"];
    assert_eq!((&status["readyReplicas"], &status["updatedReplicas"]), (&json!(3), &json!(3)));
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    play.pods.remove(1);
    assert_eq!(play.settle(), ["+db-1"], "the same name again");
    play.pods[0]["status"]["phase"] = json!("Failed");
    assert_eq!(play.settle(), ["-db-0", "+db-0"], "one that has ended is replaced");
}

#[test]
fn scaling_down_and_updating_begin_at_the_end() {
    let mut play = Play::new(3);
    play.settle();
    play.change("b");
    assert_eq!(play.settle(), ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]);
    let status = &play.set["status"];
    assert_eq!((&status["observedGeneration"], &status["updatedReplicas"]), (&json!(2), &json!(3)));
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    play.set["spec"]["replicas"] = json!(1);
    assert_eq!(play.settle(), ["-db-2", "-db-1"]);
}

#[test]
fn an_update_stops_at_the_partition_and_replaces_below_it_with_the_old_template() {
    let mut play = Play::new(2);
    play.settle();
    play.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    play.change("b");
    assert_eq!(play.settle(), ["-db-1", "+db-1"]);
    play.pods.retain(|pod| object::name(pod) != "db-0");
    play.settle();
    assert_eq!(play.images(), BTreeMap::from([("db-0", "a"), ("db-1", "b")]));
    assert_ne!(play.set["status"]["currentRevision"], play.set["status"]["updateRevision"]);
    play.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
    play.settle();
    assert_eq!(play.images(), BTreeMap::from([("db-0", "b"), ("db-1", "b")]));
    assert_eq!(play.set["status"]["currentRevision"], play.set["status"]["updateRevision"]);
}

#[test]
fn parallel_pods_do_not_wait_for_each_other_and_on_delete_leaves_them_alone() {
    let mut play = Play::new(3);
    play.set["spec"]["podManagementPolicy"] = json!("Parallel");
    assert_eq!(play.step(), ["+db-0", "+db-1", "+db-2"]);
    play.settle();
    play.set["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    play.change("b");
    assert_eq!(play.settle(), Vec::<String>::new());
    play.pods.remove(0);
    play.settle();
    assert_eq!(play.images(), BTreeMap::from([("db-0", "b"), ("db-1", "a"), ("db-2", "a")]));
    play.set["spec"]["replicas"] = json!(0);
    assert_eq!(play.step(), ["-db-2", "-db-1", "-db-0"]);
}

#[test]
fn claims_are_named_after_the_pod_and_numbers_may_begin_anywhere() {
    let mut play = Play::new(1);
    play.set["spec"]["ordinals"] = json!({ "start": 5 });
    play.set["spec"]["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" } }]);
    assert_eq!(play.step(), ["+db-5"]);
    let volume = &play.pods[0]["spec"]["volumes"][0];
    assert_eq!(*volume, json!({ "name": "data", "persistentVolumeClaim": { "claimName": "data-db-5" } }));
}
