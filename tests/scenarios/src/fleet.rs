//! Clusters with a mesh each, and what can be done to them from below.

use crate::cluster::Cluster;
use crate::eventually;
use crate::kind::{self, Kind};
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
    substrate: Substrate,
    scratch: TempDir,
}

/// What the clusters run on, by the variable `ISTHMUS_SUBSTRATE`: `sandbox`, where nothing is said, or `kind`.
enum Substrate {
    Sandbox(SandboxFaults),
    Kind(Kind),
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
        let come_up = || {
            let fleet = Self::up()?;
            fleet.install(&[])?;
            Ok(fleet)
        };
        come_up().unwrap_or_else(|error: anyhow::Error| panic!("the fleet did not come up: {error:#}"))
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
        let asked = std::env::var("ISTHMUS_SUBSTRATE").unwrap_or_else(|_| "sandbox".to_owned());
        let (substrate, kubeconfig) = match asked.as_str() {
            "sandbox" => {
                let (faults, kubeconfig) = SandboxFaults::start(scratch.path())?;
                (Substrate::Sandbox(faults), kubeconfig)
            }
            "kind" => {
                let kind = Kind::find(scratch.path())?;
                let kubeconfig = kind.kubeconfig().to_owned();
                (Substrate::Kind(kind), kubeconfig)
            }
            other => anyhow::bail!("ISTHMUS_SUBSTRATE is {other:?}; sandbox and kind are known"),
        };
        let cluster = |name| Cluster::new(name, &kubeconfig);
        let fleet = Self { east: cluster("east"), west: cluster("west"), substrate, scratch };
        if let Substrate::Kind(kind) = &fleet.substrate {
            kind.heal()?;
            fleet.on_both(|cluster| kind::clean(kind, cluster))?;
        }
        Ok(fleet)
    }

    fn on_both(&self, act: impl Fn(&Cluster) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let both = self.both().map(|cluster| scope.spawn(|| act(cluster)));
            both.into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("panicked")))
        })
    }

    /// Installs a mesh in both clusters, under one trust anchor, with more flags of `meshctl install`.
    ///
    /// # Errors
    /// What a command said.
    pub fn install(&self, more: &[&str]) -> Result<()> {
        let trust = self.trust()?;
        self.on_both(|cluster| install(cluster, &trust, more))
    }

    /// The same in one cluster.
    ///
    /// # Errors
    /// What a command said.
    pub fn install_in(&self, cluster: &Cluster, more: &[&str]) -> Result<()> {
        install(cluster, &self.trust()?, more)
    }

    /// The folder of a trust anchor and an issuer for each cluster.
    fn trust(&self) -> Result<PathBuf> {
        let trust = self.scratch("trust");
        if !trust.exists() {
            let dir = trust.to_str().context("scratch path")?;
            self.east.meshctl(&["trust", "init", "--out", dir, "--issuer", "east", "--issuer", "west"])?;
        }
        Ok(trust)
    }

    /// What can be broken.
    pub fn faults(&self) -> &dyn Faults {
        match &self.substrate {
            Substrate::Sandbox(faults) => faults,
            Substrate::Kind(kind) => kind,
        }
    }

    /// The nodes, for scenarios that are about them and are marked to be ignored elsewhere.
    ///
    /// # Panics
    /// On any other substrate.
    pub fn kind(&self) -> &Kind {
        match &self.substrate {
            Substrate::Kind(kind) => kind,
            Substrate::Sandbox(_) => panic!("this scenario needs real nodes: cargo xtask kind test"),
        }
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

/// Installs everything, with more flags of `meshctl install`, and waits for it.
pub(crate) fn install(cluster: &Cluster, trust: &Path, more: &[&str]) -> Result<()> {
    cluster.apply(&cluster.meshctl(&["install", "--crds"])?)?;
    let file = |name: &str| trust.join(name).display().to_string();
    let (anchors, issuer) = (file("ca.crt"), file(&format!("{}-issuer.crt", cluster.name)));
    let key = file(&format!("{}-issuer.key", cluster.name));
    let mut args = vec!["install", "--identity-trust-anchors-file", &anchors];
    args.extend(["--identity-issuer-certificate-file", &issuer, "--identity-issuer-key-file", &key]);
    args.extend(more);
    cluster.apply(&cluster.meshctl(&args)?)?;
    for deployment in CONTROL_PLANE {
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

/// Takes everything off again.
pub(crate) fn uninstall(cluster: &Cluster) -> Result<()> {
    for uninstall in [&["multicluster", "uninstall", "--force"][..], &["uninstall", "--force"]] {
        let objects = cluster.meshctl(uninstall)?;
        cluster.feed(&["delete", "--ignore-not-found", "--timeout=180s", "-f", "-"], &objects)?;
    }
    Ok(())
}

/// The Deployments of the control plane.
pub(crate) const CONTROL_PLANE: [&str; 3] =
    ["linkerd-identity", "linkerd-destination", "linkerd-proxy-injector"];
