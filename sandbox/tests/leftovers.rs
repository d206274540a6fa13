//! A supervisor that is killed leaves nothing but a stale state directory, which the next `up` or `down` cleans. Needs
//! root.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test's helpers may panic

#[path = "support/bed.rs"]
mod bed;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bed::eventually;
use mesh_sandbox::{Error, Sandbox, UpOptions};

const STATE: &str = "ISTHMUS_TEST_STATE_DIR";

fn options(state: &Path) -> UpOptions {
    let clusters = vec!["solo".to_owned()];
    UpOptions {
        clusters,
        bin_dirs: vec![bed::bin_dir()],
        state_dir: Some(state.to_owned()),
        ..UpOptions::default()
    }
}

/// Not a test of its own: the process that the tests below kill.
#[test]
#[ignore = "run by the other tests of this file"]
fn supervisor_process() {
    let Some(state) = std::env::var_os(STATE) else { return };
    mesh_sandbox::up_in_foreground(&options(Path::new(&state)), true, &mut |_| {}).unwrap();
}

fn start(state: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "supervisor_process", "--nocapture"])
        .env(STATE, state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the supervisor did not come up");
    // Keep the pipe open: the test harness of the child writes to it at the end.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Runs a pod whose process has a word in its command line that no other has; answers the word.
fn start_pod(kubeconfig: &Path, state: &Path) -> String {
    let marker = format!("marker-of-{}", state.file_name().unwrap().to_str().unwrap());
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "sleeper", "annotations": { "sandbox.isthmus.dev/executable.main": "/bin/bash" },
        },
        "spec": { "containers": [{
            "name": "main", "image": "host/bash", "args": ["-c", "sleep infinity & wait", marker],
        }] },
    });
    let file = state.join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    let kubectl = |arguments: &[&str]| {
        let status = Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(arguments).status();
        assert!(status.expect("kubectl 1.28 or later must be on PATH").success());
    };
    kubectl(&["apply", "-f", file.to_str().unwrap()]);
    kubectl(&["wait", "--for=condition=Ready", "pod/sleeper", "--timeout=30s"]);
    assert!(running(&marker) > 0);
    marker
}

/// Processes with a word in their command line.
fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}

/// Processes inside a network namespace.
fn inhabitants(namespace: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let of = |process: &PathBuf| std::fs::read_link(process.join("ns/net")).ok();
    processes.filter(|process| of(process).as_deref() == Some(namespace)).collect()
}

#[test]
fn a_killed_supervisor_leaves_no_process_and_its_directory_is_taken_over() {
    let state = tempfile::tempdir().unwrap();
    let mut child = start(state.path());
    let status = Sandbox::connect(Some(state.path().to_owned())).unwrap().status().unwrap();
    let namespace = std::fs::read_link(&status.clusters[0].netns).unwrap();
    let marker = start_pod(&status.kubeconfig, state.path());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the pod's process to end", Duration::from_secs(30), || (running(&marker) == 0).then_some(()));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(state.path().to_str().unwrap()), "{mounts}");
    let gone = Sandbox::connect(Some(state.path().to_owned()));
    assert!(matches!(gone, Err(Error::NotRunning(_))), "{gone:?}");
    eventually("the processes to end", Duration::from_secs(30), || {
        inhabitants(&namespace).is_empty().then_some(())
    });

    let mut child = start(state.path());
    assert!(mesh_sandbox::down(Some(state.path().to_owned())).unwrap());
    assert!(child.wait().unwrap().success());
    assert!(!state.path().exists());
    assert!(!mesh_sandbox::down(Some(state.path().to_owned())).unwrap(), "down again is fine");
}

#[test]
fn a_sandbox_in_the_foreground_ends_with_its_standard_input() {
    let state = tempfile::tempdir().unwrap();
    let mut child = start(state.path());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!state.path().exists());
}
