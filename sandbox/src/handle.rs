//! A running sandbox, seen from another process: the faults and probes that tests and `meshctl sandbox fault` use.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};

use crate::control::{Request, call};
use crate::error::Error;
use crate::state::StateDir;
use crate::up::{FaultStatus, Status};

/// A running sandbox. Every method is one request to its supervisor; it blocks until the effect is in force.
#[derive(Debug, Clone)]
pub struct Sandbox(StateDir);

/// What a command run inside a sandbox left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A capture that is being written; [`Capture::end`] it before reading the file.
#[derive(Debug)]
#[must_use = "a capture goes on until it is ended"]
pub struct Capture {
    sandbox: Sandbox,
    number: u64,
    file: PathBuf,
}

impl Sandbox {
    /// The sandbox of a state directory; `None` is the default one.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn connect(state_dir: Option<PathBuf>) -> Result<Self, Error> {
        let sandbox = Self(StateDir::resolve(state_dir));
        sandbox.status()?;
        Ok(sandbox)
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Error> {
        let told = call(&self.0, request)?;
        serde_json::from_value(told).map_err(|error| Error::Refused(format!("unexpected answer: {error}")))
    }

    /// Kubeconfig with a context per cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.kubeconfig()
    }

    /// What runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn status(&self) -> Result<Status, Error> {
        self.ask(&Request::Status)
    }

    /// Drops every packet between two clusters, until [`Sandbox::heal`].
    ///
    /// # Errors
    /// When a cluster is unknown or the rule is refused.
    pub fn partition(&self, a: &str, b: &str) -> Result<Vec<FaultStatus>, Error> {
        self.ask(&Request::Partition { a: a.to_owned(), b: b.to_owned() })
    }

    /// Lifts every partition, latency and bandwidth limit.
    ///
    /// # Errors
    /// When the rules are refused.
    pub fn heal(&self) -> Result<Vec<FaultStatus>, Error> {
        self.ask(&Request::Heal)
    }

    /// Delays every packet from one cluster to another. For a round trip, set both directions.
    ///
    /// # Errors
    /// When a cluster is unknown or the relay cannot be made.
    pub fn latency(&self, from: &str, to: &str, latency: Duration) -> Result<Vec<FaultStatus>, Error> {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.ask(&Request::Latency { from: from.to_owned(), to: to.to_owned(), microseconds })
    }

    /// Limits the bit rate from one cluster to another; `None` lifts the limit.
    ///
    /// # Errors
    /// When a cluster is unknown or the relay cannot be made.
    pub fn bandwidth(
        &self,
        from: &str,
        to: &str,
        bits_per_second: Option<u64>,
    ) -> Result<Vec<FaultStatus>, Error> {
        self.ask(&Request::Bandwidth { from: from.to_owned(), to: to.to_owned(), bits_per_second })
    }

    /// Makes a cluster's API server unreachable from pods and from other clusters: open connections are reset, new ones
    /// refused. It stays reachable from the host, and the cluster goes on.
    ///
    /// # Errors
    /// When the cluster is unknown.
    pub fn stop_api(&self, cluster: &str) -> Result<(), Error> {
        self.ask(&Request::StopApi { cluster: cluster.to_owned() })
    }

    /// Undoes [`Sandbox::stop_api`].
    ///
    /// # Errors
    /// When the cluster is unknown.
    pub fn start_api(&self, cluster: &str) -> Result<(), Error> {
        self.ask(&Request::StartApi { cluster: cluster.to_owned() })
    }

    /// Sends a signal to a container's first process; 9 ends it at once, and the node restarts it by the pod's policy.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn kill_container(
        &self,
        cluster: &str,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: i32,
    ) -> Result<(), Error> {
        self.ask(&Request::Kill {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
            signal,
        })
    }

    /// Gives a load balancer Service another address, and tells which.
    ///
    /// # Errors
    /// When the Service has no address, or no other is free.
    pub fn release_address(&self, cluster: &str, namespace: &str, service: &str) -> Result<Ipv4Addr, Error> {
        self.ask(&Request::ReleaseAddress {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Starts writing the packets that enter or leave a pod to a pcap file.
    ///
    /// # Errors
    /// When the pod does not run.
    pub fn capture(&self, cluster: &str, namespace: &str, pod: &str, file: &Path) -> Result<Capture, Error> {
        let file = std::path::absolute(file).map_err(|source| Error::File {
            action: "name",
            path: file.to_owned(),
            source,
        })?;
        let number = self.ask(&Request::Capture {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            file: file.clone(),
        })?;
        Ok(Capture { sandbox: self.clone(), number, file })
    }

    /// Runs a host command in a cluster's network namespace, or in that of one of its pods (`namespace`, `name`), and
    /// waits for it.
    ///
    /// # Errors
    /// When the cluster or pod is unknown or the command cannot be started.
    pub fn exec(&self, cluster: &str, pod: Option<(&str, &str)>, command: &[&str]) -> Result<Output, Error> {
        self.ask(&Request::Exec {
            cluster: cluster.to_owned(),
            namespace: pod.map(|(namespace, _)| namespace.to_owned()),
            pod: pod.map(|(_, name)| name.to_owned()),
            command: command.iter().map(|&word| word.to_owned()).collect(),
        })
    }
}

impl Capture {
    /// Ends the capture; answers the file and how many packets it holds.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn end(self) -> Result<(PathBuf, u64), Error> {
        let count = self.sandbox.ask(&Request::EndCapture { capture: self.number })?;
        Ok((self.file, count))
    }
}
