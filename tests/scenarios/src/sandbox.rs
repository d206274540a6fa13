//! The sandbox as a substrate.

use crate::cluster::binary;
use crate::fleet::{Capture, Faults};
use anyhow::{Context as _, Result, bail};
use mesh_sandbox::Sandbox;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Faults of a sandbox whose supervisor is a child of this process and ends with it: its standard input closes.
pub(crate) struct SandboxFaults {
    sandbox: Sandbox,
    /// Held open, not read: closing its standard input takes the clusters down.
    _supervisor: Child,
}

impl SandboxFaults {
    /// Brings `east` and `west` up; answers with their kubeconfig too.
    pub(crate) fn start(scratch: &Path) -> Result<(Self, PathBuf)> {
        let state = scratch.join("sandbox");
        let log = std::fs::File::create(scratch.join("sandbox.log"))?;
        let mut supervisor = Command::new(binary("meshctl"))
            .args([
                "sandbox",
                "up",
                "--clusters",
                "east,west",
                "--foreground",
                "--until-stdin-closes",
                "--state-dir",
            ])
            .arg(&state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start meshctl sandbox up")?;
        let stdout = supervisor.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            let told = std::fs::read_to_string(scratch.join("sandbox.log")).unwrap_or_default();
            bail!("the sandbox did not come up: {line}{told}");
        }
        let sandbox = Sandbox::connect(Some(state))?;
        let kubeconfig = sandbox.kubeconfig();
        Ok((Self { sandbox, _supervisor: supervisor }, kubeconfig))
    }
}

impl Faults for SandboxFaults {
    fn partition(&self, a: &str, b: &str) -> Result<()> {
        self.sandbox.partition(a, b)?;
        Ok(())
    }

    fn heal(&self) -> Result<()> {
        self.sandbox.heal()?;
        Ok(())
    }

    fn stop_api(&self, cluster: &str) -> Result<()> {
        Ok(self.sandbox.stop_api(cluster)?)
    }

    fn start_api(&self, cluster: &str) -> Result<()> {
        Ok(self.sandbox.start_api(cluster)?)
    }

    fn kill(&self, cluster: &str, namespace: &str, pod: &str, container: &str) -> Result<()> {
        const SIGKILL: i32 = 9;
        Ok(self.sandbox.kill_container(cluster, namespace, pod, container, SIGKILL)?)
    }

    fn change_address(&self, cluster: &str, namespace: &str, service: &str) -> Result<String> {
        Ok(self.sandbox.release_address(cluster, namespace, service)?.to_string())
    }

    fn capture(&self, cluster: &str, namespace: &str, pod: &str, file: &Path) -> Result<Box<dyn Capture>> {
        Ok(Box::new(SandboxCapture(self.sandbox.capture(cluster, namespace, pod, file)?)))
    }
}

struct SandboxCapture(mesh_sandbox::Capture);

impl Capture for SandboxCapture {
    fn end(self: Box<Self>) -> Result<u64> {
        let (_, packets) = self.0.end()?;
        Ok(packets)
    }
}
