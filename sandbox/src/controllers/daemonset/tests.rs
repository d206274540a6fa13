use super::*;
use crate::controllers::testing::{ready, template, world};

/// Plays the controller on nodes where pods start at once, ready.
struct Play {
    set: Value,
    nodes: Vec<Value>,
    revisions: Vec<Value>,
    pods: Vec<Value>,
    made: usize,
    most: usize,
    least: usize,
}

fn node(name: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": name, "labels": { "kubernetes.io/os": "linux" } } })
}

impl Play {
    fn new(nodes: &[&str]) -> Self {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "namespace": "shop", "name": "agent", "uid": "set", "generation": 1 },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } }, "template": template("a"),
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
            },
        });
        let nodes = nodes.iter().map(|name| node(name)).collect();
        Self { set, nodes, revisions: Vec::new(), pods: Vec::new(), made: 0, most: 0, least: usize::MAX }
    }

    fn step(&mut self) -> bool {
        let mut objects = vec![(Kind::DaemonSet, &self.set)];
        objects.extend(self.nodes.iter().map(|node| (Kind::Node, node)));
        objects.extend(self.revisions.iter().map(|revision| (Kind::ControllerRevision, revision)));
        objects.extend(self.pods.iter().map(|pod| (Kind::Pod, pod)));
        let plan = plan(&world(&objects), &Key::of(&self.set), "2026-01-01T00:01:00Z".parse().unwrap());
        let has_work = !plan.actions.is_empty();
        for action in plan.actions {
            match action {
                Action::Create(kind, mut object) => {
                    self.made += 1;
                    object["metadata"]["uid"] = json!(format!("uid-{}", self.made));
                    if kind == Kind::Pod {
                        object["metadata"]["name"] = json!(format!("agent-{}", self.made));
                        object["metadata"]["creationTimestamp"] =
                            json!(format!("2026-01-01T00:00:{:02}Z", self.made));
                        object["status"] = json!({ "phase": "Running" });
                        self.pods.push(ready(object));
                    } else {
                        self.revisions.push(object);
                    }
                }
                Action::Delete(Kind::Pod, key, _) => self.pods.retain(|pod| Key::of(pod) != key),
                Action::PatchStatus(_, _, patch) => {
                    let mut status = patch["status"].clone();
                    status.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                    self.set["status"] = status;
                }
                other => panic!("{other:?}"),
            }
        }
        self.most = self.most.max(self.pods.len());
        self.least = self.least.min(self.pods.len());
        has_work
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.step() {
                return;
            }
        }
        panic!("does not settle: {:#?}", self.pods);
    }

    fn change(&mut self, image: &str) {
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        self.set["metadata"]["generation"] = json!(object::generation(&self.set) + 1);
        (self.most, self.least) = (0, usize::MAX);
    }

    fn places(&self) -> Vec<(&str, &str)> {
        let mut places: Vec<_> = self
            .pods
            .iter()
            .map(|pod| (object::text(pod, "/spec/nodeName"), object::text(pod, "/spec/containers/0/image")))
            .collect();
        places.sort_unstable();
        places
    }
}

#[test]
fn every_node_has_one_pod_and_new_nodes_get_theirs() {
    let mut play = Play::new(&["n1", "n2"]);
    play.settle();
    assert_eq!(play.places(), [("n1", "a"), ("n2", "a")]);
    let status = &play.set["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    assert_eq!((count("desiredNumberScheduled"), count("numberReady"), count("numberAvailable")), (2, 2, 2));
    assert_eq!((count("updatedNumberScheduled"), count("numberUnavailable")), (2, 0));
    play.nodes.push(node("n3"));
    play.nodes.remove(0);
    play.settle();
    assert_eq!(play.places(), [("n2", "a"), ("n3", "a")], "a pod of a node that is gone goes too");
}

#[test]
fn labels_and_taints_of_nodes_count() {
    let mut play = Play::new(&["n1", "n2", "n3", "n4"]);
    play.nodes[0]["spec"] = json!({ "taints": [{ "key": "x", "value": "y", "effect": "NoSchedule" }] });
    play.nodes[1]["spec"] =
        json!({ "taints": [{ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }] });
    play.nodes[2]["metadata"]["labels"] = json!({ "kubernetes.io/os": "windows" });
    play.set["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    play.settle();
    assert_eq!(play.places(), [("n2", "a"), ("n4", "a")]);
    let toleration = json!([{ "key": "x", "operator": "Exists" }]);
    play.set["spec"]["template"]["spec"]["tolerations"] = toleration;
    play.settle();
    assert_eq!(play.places(), [("n1", "a"), ("n2", "a"), ("n4", "a")]);
}

#[test]
fn an_update_replaces_as_many_at_a_time_as_may_be_missing() {
    let mut play = Play::new(&["n1", "n2", "n3"]);
    play.settle();
    play.change("b");
    play.settle();
    assert_eq!(play.places(), [("n1", "b"), ("n2", "b"), ("n3", "b")]);
    assert_eq!((play.least, play.most), (2, 3));
    assert_eq!(play.set["status"]["observedGeneration"], 2);
}

#[test]
fn an_update_with_surge_never_takes_a_pod_away_first() {
    let mut play = Play::new(&["n1", "n2", "n3"]);
    play.settle();
    play.set["spec"]["updateStrategy"]["rollingUpdate"] = json!({ "maxUnavailable": 0, "maxSurge": "34%" });
    play.change("b");
    play.settle();
    assert_eq!(play.places(), [("n1", "b"), ("n2", "b"), ("n3", "b")]);
    assert_eq!((play.least, play.most), (3, 5), "34 % of 3 are 2");
}

#[test]
fn what_has_ended_is_replaced_and_on_delete_leaves_old_templates_alone() {
    let mut play = Play::new(&["n1"]);
    play.set["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    play.settle();
    play.change("b");
    play.settle();
    assert_eq!(play.places(), [("n1", "a")]);
    play.pods[0]["status"]["phase"] = json!("Failed");
    play.settle();
    assert_eq!(play.places(), [("n1", "b")]);
}
