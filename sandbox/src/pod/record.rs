//! What is known of a running pod, and its status as the API shows it.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::controllers::object;

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running beside the rest.
    Sidecar,
    /// One of the pod's purpose.
    Main,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not running yet, or not again yet: reason and message.
    Waiting(&'static str, String),
    /// Running since then.
    Running(Timestamp),
    /// Ended.
    Ended(Ended),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code.
    pub(crate) code: i32,
    /// `Completed`, `Error`, `StartError`.
    pub(crate) reason: &'static str,
    /// Its last words.
    pub(crate) message: String,
    /// When it was started.
    pub(crate) from: Timestamp,
    /// When it ended.
    pub(crate) to: Timestamp,
    /// Which run this was.
    pub(crate) id: String,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) role: Role,
    /// What it is doing.
    pub(crate) state: State,
    /// How its previous run ended.
    pub(crate) last: Option<Ended>,
    /// Passes its readiness probe.
    pub(crate) is_ready: bool,
    /// Runs, and its hook for that has run.
    pub(crate) is_up: bool,
    /// Has passed its startup probe.
    pub(crate) has_started: bool,
    /// Will not run again.
    pub(crate) is_done: bool,
    /// How often it was started again.
    pub(crate) restarts: u64,
    /// Id of the current or latest run.
    pub(crate) id: String,
    /// The image as the pod names it.
    pub(crate) image: String,
    /// What it was resolved to.
    pub(crate) image_id: String,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// When the node took it on.
    pub(crate) since: Timestamp,
    /// The node's address.
    pub(crate) host: Ipv4Addr,
    /// Its address, once it has one.
    pub(crate) ip: Option<Ipv4Addr>,
    /// Init containers and sidecars in order, then the rest.
    pub(crate) containers: Vec<Container>,
    /// A failure of the pod itself: reason and message.
    pub(crate) failure: Option<(&'static str, String)>,
}

impl Record {
    /// A pod as it is taken on.
    pub(crate) fn new(pod: &Value, host: Ipv4Addr, since: Timestamp) -> Self {
        let container = |spec: &Value, role| Container {
            name: object::text(spec, "/name").to_owned(),
            role,
            state: State::Waiting("PodInitializing", String::new()),
            last: None,
            is_ready: false,
            is_up: false,
            has_started: false,
            is_done: false,
            restarts: 0,
            id: String::new(),
            image: object::text(spec, "/image").to_owned(),
            image_id: String::new(),
        };
        let inits = object::items(pod, "/spec/initContainers");
        let mut containers: Vec<Container> =
            inits.iter().map(|spec| container(spec, role_of_init(spec))).collect();
        let mains = object::items(pod, "/spec/containers").iter();
        containers.extend(mains.map(|spec| container(spec, Role::Main)));
        if inits.is_empty() {
            for container in &mut containers {
                container.state = State::Waiting("ContainerCreating", String::new());
            }
        }
        Self { since, host, ip: None, containers, failure: None }
    }

    /// A container by name.
    pub(crate) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// A container by name.
    pub(crate) fn container_mut(&mut self, name: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.name == name)
    }

    /// Has a container ended for good, and not well?
    pub(crate) fn has_failed(&self, name: &str) -> bool {
        self.container(name).is_some_and(|container| container.is_done && !container.has_succeeded())
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |container| container.role == role)
    }

    /// Has every init container done its part?
    pub(crate) fn is_initialized(&self) -> bool {
        self.of(Role::Init).all(|container| container.is_done && container.has_succeeded())
            && self.of(Role::Sidecar).all(|container| container.has_started || container.is_done)
    }

    fn phase(&self) -> &'static str {
        if self.failure.is_some() || self.of(Role::Init).any(|init| init.is_done && !init.has_succeeded()) {
            return "Failed";
        }
        let has_run = |container: &Container| {
            !matches!(container.state, State::Waiting(..)) || container.last.is_some()
        };
        if !self.of(Role::Main).any(has_run) {
            return "Pending";
        }
        if self.of(Role::Main).all(|main| main.is_done) {
            let succeeded = self.of(Role::Main).all(Container::has_succeeded);
            return if succeeded { "Succeeded" } else { "Failed" };
        }
        "Running"
    }
}

/// Init containers with `restartPolicy: Always` are sidecars.
pub(crate) fn role_of_init(spec: &Value) -> Role {
    if object::text(spec, "/restartPolicy") == "Always" { Role::Sidecar } else { Role::Init }
}

impl Container {
    /// Has its first start come to something, good or bad? Until then the containers after it wait.
    pub(crate) fn is_launched(&self) -> bool {
        match &self.state {
            State::Waiting("ContainerCreating" | "PodInitializing", _) => self.is_done,
            State::Running(_) => self.is_up,
            _ => true,
        }
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.code == 0)
    }

    fn status(&self) -> Value {
        let mut out = json!({
            "name": self.name, "image": self.image, "imageID": self.image_id, "ready": self.is_ready_now(),
            "restartCount": self.restarts, "started": self.has_started, "state": self.state.json(),
            "lastState": self.last.as_ref().map_or_else(|| json!({}), |last| json!({ "terminated": last.json() })),
        });
        if !self.id.is_empty() {
            out["containerID"] = self.id.clone().into();
        }
        out
    }

    /// An init container is ready when it has succeeded.
    fn is_ready_now(&self) -> bool {
        match self.role {
            Role::Init => self.is_done && self.has_succeeded(),
            _ => self.is_ready,
        }
    }
}

impl State {
    fn json(&self) -> Value {
        match self {
            Self::Waiting(reason, message) if message.is_empty() => {
                json!({ "waiting": { "reason": reason } })
            }
            Self::Waiting(reason, message) => json!({ "waiting": { "reason": reason, "message": message } }),
            Self::Running(since) => json!({ "running": { "startedAt": object::stamp(*since) } }),
            Self::Ended(ended) => json!({ "terminated": ended.json() }),
        }
    }
}

impl Ended {
    fn json(&self) -> Value {
        let mut out = json!({
            "exitCode": self.code, "reason": self.reason, "startedAt": object::stamp(self.from),
            "finishedAt": object::stamp(self.to), "containerID": self.id,
        });
        if !self.message.is_empty() {
            out["message"] = self.message.clone().into();
        }
        out
    }
}

/// The pod's whole status. `pod` is the object as last seen: transition times and others' conditions are kept.
pub(crate) fn status(record: &Record, pod: &Value, now: Timestamp) -> Value {
    let phase = record.phase();
    let list = |wanted: fn(Role) -> bool| -> Vec<Value> {
        record.containers.iter().filter(|c| wanted(c.role)).map(Container::status).collect()
    };
    let mut out = json!({
        "phase": phase, "hostIP": record.host, "hostIPs": [{ "ip": record.host }],
        "startTime": object::stamp(record.since), "conditions": conditions(record, phase, pod, now),
        "containerStatuses": list(|role| role == Role::Main),
        "qosClass": match object::text(pod, "/status/qosClass") { "" => "BestEffort", class => class },
    });
    let inits = list(|role| role != Role::Main);
    if !inits.is_empty() {
        out["initContainerStatuses"] = inits.into();
    }
    if let Some(ip) = record.ip {
        out["podIP"] = ip.to_string().into();
        out["podIPs"] = json!([{ "ip": ip }]);
    }
    if let Some((reason, message)) = &record.failure {
        out["reason"] = (*reason).into();
        out["message"] = message.clone().into();
    }
    out
}

/// Reason and message of a condition that is not true.
type Obstacle = Option<(&'static str, String)>;

fn conditions(record: &Record, phase: &str, pod: &Value, now: Timestamp) -> Vec<Value> {
    let over = matches!(phase, "Succeeded" | "Failed");
    let unready = |roles: &[Role], is_fine: fn(&Container) -> bool| -> Vec<&str> {
        let listed = record.containers.iter().filter(|c| roles.contains(&c.role) && !is_fine(c));
        listed.map(|c| c.name.as_str()).collect()
    };
    let containers = if over {
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
        Some((reason, String::new()))
    } else {
        let names = unready(&[Role::Main, Role::Sidecar], |c| c.is_ready);
        (!names.is_empty())
            .then(|| ("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" "))))
    };
    let initialized = (!record.is_initialized() && phase != "Succeeded").then(|| {
        let names = unready(&[Role::Init], |c| c.is_done && c.has_succeeded());
        ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names.join(" ")))
    });
    let gate = object::items(pod, "/spec/readinessGates")
        .iter()
        .map(|gate| object::text(gate, "/conditionType"))
        .find(|kind| !object::is_true(pod, kind))
        .map(|kind| {
            ("ReadinessGatesNotReady", format!("the status of pod readiness gate \"{kind}\" is not \"True\""))
        });
    let ready = containers.clone().or(gate);
    let network: Obstacle = record.ip.is_none().then(|| ("PodSandboxNotReady", String::new()));
    let ours = [
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", None),
    ];
    let mut out: Vec<Value> =
        ours.iter().map(|(kind, obstacle)| condition(kind, obstacle, pod, now)).collect();
    let others = object::items(pod, "/status/conditions").iter();
    out.extend(
        others.filter(|other| ours.iter().all(|(kind, _)| object::text(other, "/type") != *kind)).cloned(),
    );
    out
}

fn condition(kind: &str, obstacle: &Obstacle, pod: &Value, now: Timestamp) -> Value {
    let status = if obstacle.is_none() { "True" } else { "False" };
    let old = object::condition(pod, kind).filter(|old| object::text(old, "/status") == status);
    let since = match old.map(|old| object::text(old, "/lastTransitionTime")) {
        Some(since) if !since.is_empty() => since.to_owned(),
        _ => object::stamp(now),
    };
    let mut out =
        json!({ "type": kind, "status": status, "lastTransitionTime": since, "lastProbeTime": null });
    if let Some((reason, message)) = obstacle {
        out["reason"] = (*reason).into();
        if !message.is_empty() {
            out["message"] = message.clone().into();
        }
    }
    out
}

#[cfg(test)]
mod tests;
