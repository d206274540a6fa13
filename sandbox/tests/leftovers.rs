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
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = Sandbox::connect(Some(state.path().to_owned()));
    assert!(matches!(gone, Err(Error::NotRunning(_))), "{gone:?}");
    eventually("the processes to end", Duration::from_secs(5), || {
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
