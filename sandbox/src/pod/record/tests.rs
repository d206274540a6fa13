use super::*;

fn pod() -> Value {
    json!({ "spec": {
        "initContainers": [{ "name": "init", "image": "i" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "app", "image": "a" }],
    } })
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn record() -> Record {
    Record::new(&pod(), Ipv4Addr::new(198, 18, 1, 2), now())
}

fn ended(code: i32) -> State {
    let id = "sandbox://x".to_owned();
    State::Ended(Ended { code, reason: "x", message: String::new(), from: now(), to: now(), id })
}

fn is_true(status: &Value, kind: &str) -> bool {
    object::is_true(&json!({ "status": status }), kind)
}

#[test]
fn a_pod_is_pending_until_initialized_then_running_and_ready_with_its_sidecars() {
    let mut record = record();
    let fresh = status(&record, &pod(), now());
    assert_eq!(fresh["phase"], "Pending");
    assert!(!is_true(&fresh, "Initialized") && is_true(&fresh, "PodScheduled"));
    assert_eq!(fresh["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");

    record.containers[0].state = ended(0);
    record.containers[0].is_done = true;
    record.containers[1].has_started = true;
    record.containers[2].state = State::Running(now());
    record.containers[2].is_ready = true;
    record.ip = Some(Ipv4Addr::new(10, 42, 0, 2));
    let running = status(&record, &pod(), now());
    assert_eq!((&running["phase"], &running["podIP"]), (&json!("Running"), &json!("10.42.0.2")));
    assert!(is_true(&running, "Initialized") && !is_true(&running, "Ready"));
    assert_eq!(running["conditions"][2]["message"], "containers with unready status: [proxy]");
    assert_eq!(running["initContainerStatuses"][0]["ready"], true);

    record.containers[1].is_ready = true;
    assert!(is_true(&status(&record, &pod(), now()), "Ready"));
}

#[test]
fn the_phase_follows_how_the_main_containers_ended() {
    for (code, phase, reason) in [(0, "Succeeded", "PodCompleted"), (3, "Failed", "PodFailed")] {
        let mut record = record();
        record.containers[2].state = ended(code);
        record.containers[2].is_done = true;
        let status = status(&record, &pod(), now());
        assert_eq!(status["phase"], phase);
        assert_eq!(status["conditions"][2]["reason"], reason);
    }
    let mut record = record();
    record.containers[0].state = ended(1);
    record.containers[0].is_done = true;
    assert_eq!(status(&record, &pod(), now())["phase"], "Failed", "an init container that failed for good");
}

#[test]
fn conditions_keep_their_transition_time_and_those_of_others_stay() {
    let mut pod = pod();
    let earlier = "2020-01-01T00:00:00Z";
    pod["status"] = json!({ "conditions": [
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": earlier },
        { "type": "Ready", "status": "True", "lastTransitionTime": earlier },
        { "type": "example.com/Gate", "status": "True" },
    ] });
    let status = status(&record(), &pod, now());
    let find = |kind: &str| object::condition(&json!({ "status": status }), kind).cloned().unwrap();
    assert_eq!(find("PodScheduled")["lastTransitionTime"], earlier);
    assert_ne!(find("Ready")["lastTransitionTime"], earlier);
    assert_eq!(find("example.com/Gate")["status"], "True");
}
