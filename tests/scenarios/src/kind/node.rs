//! A node: a container of this machine with a kubelet, a container runtime and processes of its own.

use super::output;
use crate::within;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where the kubelet finds the API server it must run, and where it does not.
const MANIFEST: [&str; 2] =
    ["/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/kube-apiserver.yaml"];

/// A node of a cluster.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name of the container, which is the name of the node.
    pub name: String,
    /// Where the container engine listens, when it is not the machine's own.
    pub(crate) engine: Option<String>,
}

impl Node {
    /// Runs a command in the node.
    ///
    /// # Errors
    /// With its standard error.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        output(self.docker().args(["exec", &self.name]).args(command))
    }

    /// Restarts the node as a machine restarts: every process ends without warning.
    ///
    /// # Errors
    /// When the container engine refuses.
    pub fn restart(&self) -> Result<()> {
        output(self.docker().args(["kill", &self.name]))?;
        output(self.docker().args(["start", &self.name])).map(drop)
    }

    fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        if let Some(engine) = &self.engine {
            docker.env("DOCKER_HOST", engine);
        }
        docker
    }

    /// Its link address in the network that the clusters share.
    pub(crate) fn link_address(&self) -> Result<String> {
        self.inspect("{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}")
    }

    /// This machine's address there.
    pub(crate) fn gateway(&self) -> Result<String> {
        self.inspect("{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}")
    }

    fn process(&self) -> Result<String> {
        self.inspect("{{.State.Pid}}")
    }

    fn inspect(&self, format: &str) -> Result<String> {
        let told = output(self.docker().args(["inspect", "--format", format, &self.name]))?;
        let told = told.trim();
        ensure!(!told.is_empty() && told != "0", "node {} does not run", self.name);
        Ok(told.to_owned())
    }

    /// Gives rules to nft in the node's network, by this machine's nft: all of them or none.
    pub(crate) fn nft(&self, rules: &str) -> Result<()> {
        let mut nft = self.in_network(&["nft", "-f", "-"])?;
        let mut nft = nft.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        nft.stdin.take().context("no standard input")?.write_all(rules.as_bytes())?;
        let ended = nft.wait_with_output()?;
        if !ended.status.success() {
            bail!("nft in {}: {}\n{rules}", self.name, String::from_utf8_lossy(&ended.stderr));
        }
        Ok(())
    }

    /// Resets the connections that the node's processes accepted on a port.
    pub(crate) fn close_connections(&self, port: u16) -> Result<()> {
        let port = format!(":{port}");
        let close = ["ss", "-K", "-t", "-n", "state", "established", "sport", "=", &port];
        output(&mut self.in_network(&close)?).map(drop)
    }

    fn in_network(&self, program: &[&str]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.process()?, "-n"]).args(program);
        Ok(command)
    }

    /// Ends the node's API server, which nothing starts again before [`Node::start_api_server`].
    ///
    /// # Errors
    /// When the node refuses, or the server will not end.
    pub fn stop_api_server(&self) -> Result<()> {
        self.exec(&["mv", MANIFEST[0], MANIFEST[1]])?;
        // The kubelet may start it once more before it sees that it must not.
        let mut absent = 0;
        within(Duration::from_secs(60), "the API server ends", || {
            let running = self.exec(&["pgrep", "-x", "kube-apiserver"]).is_ok();
            if running {
                let _ = self.exec(&["pkill", "-KILL", "-x", "kube-apiserver"]);
            }
            absent = if running { 0 } else { absent + 1 };
            // Looked at ten times a second and more slowly.
            if absent > 30 { Ok(()) } else { Err(running) }
        });
        Ok(())
    }

    /// Starts the node's API server again, if it was stopped.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn start_api_server(&self) -> Result<()> {
        let line = format!("test ! -e {1} || mv {1} {0}", MANIFEST[0], MANIFEST[1]);
        self.exec(&["sh", "-c", &line]).map(drop)
    }
}

/// The first process of a container, by the number it has on this machine.
pub(crate) fn host_process_of(container: &str) -> Result<u32> {
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while it is looked at.
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        if !read("cgroup").contains(container) {
            continue;
        }
        let status = read("status");
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        if numbers.split_whitespace().last() == Some("1") {
            return Ok(process);
        }
    }
    bail!("no process of container {container} runs on this machine")
}
