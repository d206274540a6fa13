//! A sandbox for one test: its own state directory, gone at the end.

#![allow(dead_code)] // each test file uses its part

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mesh_sandbox::{Sandbox, UpOptions};

pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    pub(crate) state: tempfile::TempDir,
    supervisor: Option<std::thread::JoinHandle<()>>,
}

/// Where the node finds its shim.
pub(crate) fn bin_dir() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_isthmus-sandbox-init")).parent().unwrap().to_owned()
}

/// Brings clusters up in this process.
pub(crate) fn up(clusters: &[&str]) -> Bed {
    let missing = mesh_sandbox::preflight();
    assert!(missing.is_empty(), "these tests need: {missing:#?}");
    let state = tempfile::tempdir().unwrap();
    let options = UpOptions {
        clusters: clusters.iter().map(|&name| name.to_owned()).collect(),
        state_dir: Some(state.path().to_owned()),
        bin_dirs: vec![bin_dir()],
        ..UpOptions::default()
    };
    let supervisor = std::thread::spawn(move || {
        mesh_sandbox::up_in_foreground(&options, false, &mut |line| eprintln!("{line}")).unwrap();
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let sandbox = loop {
        if let Ok(sandbox) = Sandbox::connect(Some(state.path().to_owned())) {
            break sandbox;
        }
        assert!(!supervisor.is_finished() && Instant::now() < deadline, "the sandbox did not come up");
        std::thread::sleep(Duration::from_millis(10));
    };
    Bed { sandbox, state, supervisor: Some(supervisor) }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let down = mesh_sandbox::down(Some(self.state.path().to_owned()));
        let joined = self.supervisor.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            down.unwrap();
            joined.unwrap().unwrap();
        }
    }
}

impl Bed {
    /// Runs kubectl against a cluster; answers its standard output.
    pub(crate) fn kubectl(&self, cluster: &str, arguments: &[&str]) -> String {
        let output = self.try_kubectl(cluster, arguments);
        assert!(output.2, "kubectl {arguments:?}: {}{}", output.0, output.1);
        output.0
    }

    pub(crate) fn try_kubectl(&self, cluster: &str, arguments: &[&str]) -> (String, String, bool) {
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.sandbox.kubeconfig())
            .args(["--context", cluster])
            .args(arguments)
            .output()
            .expect("kubectl 1.28 or later must be on PATH");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr), output.status.success())
    }

    /// Applies YAML.
    pub(crate) fn apply(&self, cluster: &str, yaml: &str) {
        let file = self.state.path().join(format!("apply-{}.yaml", yaml.len()));
        std::fs::write(&file, yaml).unwrap();
        self.kubectl(cluster, &["apply", "-f", file.to_str().unwrap()]);
    }
}

/// Waits until `check` answers something.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
