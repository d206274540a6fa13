//! Clusters with a mesh each, and what can be done to them from below.

use crate::cluster::Cluster;
use crate::eventually;
use crate::sandbox::SandboxFaults;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Everything a scenario may break. Each fault is in force when the call returns.
pub trait Faults: Send + Sync {
    /// No packet passes between two clusters.
    ///
    /// # Errors
    /// When the substrate refuses.
    fn partition(&self, a: &str, b: &str) -> Result<()>;
    /// Ends all partitions.
    ///
    /// # Errors
    /// When the substrate refuses.
    fn heal(&self) -> Result<()>;
    /// Stops a cluster's API server; pods go on.
    ///
    /// # Errors
    /// When the substrate refuses.
    fn stop_api(&self, cluster: &str) -> Result<()>;
    /// Starts it again, with all it knew.
    ///
    /// # Errors
    /// When the substrate refuses.
    fn start_api(&self, cluster: &str) -> Result<()>;
    /// Kills the first process of a container without warning.
    ///
    /// # Errors
    /// When it does not run.
    fn kill(&self, cluster: &str, namespace: &str, pod: &str, container: &str) -> Result<()>;
    /// Gives a load balancer Service another address and tells which.
    ///
    /// # Errors
    /// When it has none.
    fn change_address(&self, cluster: &str, namespace: &str, service: &str) -> Result<String>;
    /// Begins to capture the packets of a pod.
    ///
    /// # Errors
    /// When the pod does not run.
    fn capture(&self, cluster: &str, namespace: &str, pod: &str, file: &Path) -> Result<Box<dyn Capture>>;
}

/// A capture under way.
pub trait Capture {
    /// Ends it; answers with the number of packets in the file.
    ///
    /// # Errors
    /// When the file could not be written.
    fn end(self: Box<Self>) -> Result<u64>;
}

/// The clusters `east` and `west`, each with a mesh of its own under one trust anchor.
pub struct Fleet {
    /// The importing side of most scenarios.
    pub east: Cluster,
    /// The exporting side of most scenarios.
    pub west: Cluster,
    faults: Box<dyn Faults>,
    scratch: TempDir,
}

impl Fleet {
    /// Brings clusters and meshes up, linked both ways. They live as long as the test process.
    ///
    /// # Panics
    /// With what went wrong, which fails every scenario that needs the fleet.
    #[must_use]
    pub fn linked() -> Self {
        let fleet = Self::meshed();
        let link = ["multicluster", "link", "--to-context", "east", "--both"];
        fleet.west.meshctl(&link).unwrap_or_else(|e| panic!("{e:#}"));
        fleet
    }

    /// The same without links.
    ///
    /// # Panics
    /// With what went wrong.
    #[must_use]
    pub fn meshed() -> Self {
        Self::start().unwrap_or_else(|error| panic!("the fleet did not come up: {error:#}"))
    }

    /// Clusters without a mesh.
    ///
    /// # Panics
    /// With what went wrong.
    #[must_use]
    pub fn bare() -> Self {
        Self::up().unwrap_or_else(|error| panic!("the clusters did not come up: {error:#}"))
    }

    fn up() -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let (faults, kubeconfig) = SandboxFaults::start(scratch.path())?;
        Ok(Self {
            east: Cluster::new("east", &kubeconfig),
            west: Cluster::new("west", &kubeconfig),
            faults: Box::new(faults),
            scratch,
        })
    }

    fn start() -> Result<Self> {
        let fleet = Self::up()?;
        let trust = fleet.scratch("trust");
        let dir = trust.to_str().context("scratch path")?;
        fleet.east.meshctl(&["trust", "init", "--out", dir, "--issuer", "east", "--issuer", "west"])?;
        std::thread::scope(|scope| {
            let both = [&fleet.east, &fleet.west].map(|cluster| scope.spawn(|| install(cluster, &trust)));
            both.into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("panicked")))
        })?;
        Ok(fleet)
    }

    /// What can be broken.
    pub fn faults(&self) -> &dyn Faults {
        self.faults.as_ref()
    }

    /// A path of its own in a folder that ends with the process.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Both clusters.
    pub fn both(&self) -> [&Cluster; 2] {
        [&self.east, &self.west]
    }
}

fn install(cluster: &Cluster, trust: &Path) -> Result<()> {
    cluster.apply(&cluster.meshctl(&["install", "--crds"])?)?;
    let file = |name: &str| trust.join(name).display().to_string();
    let control_plane = cluster.meshctl(&[
        "install",
        "--identity-trust-anchors-file",
        &file("ca.crt"),
        "--identity-issuer-certificate-file",
        &file(&format!("{}-issuer.crt", cluster.name)),
        "--identity-issuer-key-file",
        &file(&format!("{}-issuer.key", cluster.name)),
    ])?;
    cluster.apply(&control_plane)?;
    for deployment in ["linkerd-identity", "linkerd-destination", "linkerd-proxy-injector"] {
        cluster.rolled_out("linkerd", deployment)?;
    }
    cluster.apply(&cluster.meshctl(&["multicluster", "install"])?)?;
    for deployment in ["linkerd-gateway", "linkerd-service-mirror"] {
        cluster.rolled_out("linkerd-multicluster", deployment)?;
    }
    eventually("the gateway has an address", || {
        let service = cluster.get(&["-n", "linkerd-multicluster", "service", "linkerd-gateway"])?;
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned);
        ip.context("no address")
    });
    Ok(())
}
