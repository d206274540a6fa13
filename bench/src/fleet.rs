//! Two clusters with a mesh each, set up by the commands that people use.

use anyhow::{Context as _, Result, bail};
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{Node, Pod, Service};
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A running sandbox; taken down when dropped.
pub(crate) struct Sandbox {
    bin: PathBuf,
    state: TempDir,
    keep: bool,
}

impl Sandbox {
    /// Where `meshctl` and the binaries of images are.
    pub(crate) fn at(bin: PathBuf, keep: bool) -> Result<Self> {
        anyhow::ensure!(bin.join("meshctl").exists(), "{} has no meshctl; build it first", bin.display());
        Ok(Self { bin, state: tempfile::tempdir()?, keep })
    }

    pub(crate) async fn up(&self) -> Result<()> {
        self.meshctl(&["sandbox", "up", "--clusters", "east,west"]).await.map(drop)
    }

    /// Runs `meshctl` and answers with its stdout.
    pub(crate) async fn meshctl(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).stdin(Stdio::null()).output().await.context("cannot run meshctl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("meshctl {}: {}\n{said}", args.join(" "), output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("meshctl"));
        command.args(args).env("ISTHMUS_SANDBOX_DIR", self.state.path());
        command
    }

    pub(crate) async fn cluster(&self, name: &str) -> Result<Cluster> {
        let kubeconfig = PathBuf::from(self.meshctl(&["sandbox", "kubeconfig"]).await?.trim());
        let connection = mesh_kube::Connection {
            kubeconfig: Some(kubeconfig.clone()),
            context: Some(name.to_owned()),
            ..mesh_kube::Connection::default()
        };
        Ok(Cluster { name: name.to_owned(), client: mesh_kube::connect(&connection).await?, kubeconfig })
    }

    /// The process that everything in the sandbox descends from.
    pub(crate) async fn supervisor(&self) -> Result<u32> {
        let status: Value = serde_json::from_str(&self.meshctl(&["sandbox", "status", "-o", "json"]).await?)?;
        let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.context("meshctl sandbox status tells no pid")
    }

    /// A file among the sandbox's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.keep {
            self.state.disable_cleanup(true);
            eprintln!(
                "left running; ISTHMUS_SANDBOX_DIR={} meshctl sandbox down",
                self.state.path().display()
            );
            return;
        }
        let down = std::process::Command::new(self.bin.join("meshctl"))
            .args(["sandbox", "down"])
            .env("ISTHMUS_SANDBOX_DIR", self.state.path())
            .stdout(Stdio::null())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("the sandbox in {} could not be taken down", self.state.path().display());
        }
    }
}

/// One cluster.
pub(crate) struct Cluster {
    name: String,
    pub(crate) client: Client,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Runs `meshctl` against this cluster.
    pub(crate) async fn meshctl(&self, sandbox: &Sandbox, args: &[&str]) -> Result<String> {
        let kubeconfig = self.kubeconfig.display().to_string();
        let mut all = vec!["--kubeconfig", &kubeconfig, "--context", &self.name];
        all.extend(args);
        sandbox.meshctl(&all).await
    }

    /// Applies every document of a YAML text; a kind that is not served yet is tried again for a while.
    pub(crate) async fn apply(&self, yaml: &str) -> Result<()> {
        for object in serde_saphyr::from_multiple::<Value>(yaml).context("reading YAML")? {
            if object.is_null() {
                continue;
            }
            let started = Instant::now();
            loop {
                match mesh_kube::apply(&self.client, "mesh-bench", &object).await {
                    Ok(_) => break,
                    Err(error) if error.is_not_found() && started.elapsed() < PATIENCE => {
                        tokio::time::sleep(LOOK).await;
                    }
                    Err(error) => {
                        bail!("{}: {} {}: {error}", self.name, object["kind"], object["metadata"]["name"])
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until every node is ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let started = Instant::now();
        let is_ready = |node: &Node| {
            let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        loop {
            let listed = nodes.list(&ListParams::default()).await?.items;
            if !listed.is_empty() && listed.iter().all(is_ready) {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "{}: no ready node", self.name);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every Deployment of a namespace is rolled out.
    pub(crate) async fn rolled_out(&self, namespace: &str) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let started = Instant::now();
        loop {
            let listed = deployments.list(&ListParams::default()).await?.items;
            let waiting: Vec<String> =
                listed.iter().filter(|d| !is_rolled_out(d)).map(|d| d.name_any()).collect();
            if !listed.is_empty() && waiting.is_empty() {
                return Ok(());
            }
            let late = started.elapsed() > PATIENCE;
            anyhow::ensure!(!late, "{}: {namespace}: not rolled out: {}", self.name, waiting.join(", "));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The running pod with the label `app=<app>`.
    pub(crate) async fn pod(&self, namespace: &str, app: &str) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(&format!("app={app}"))).await?.items;
        let alive = listed.into_iter().find(|p| p.metadata.deletion_timestamp.is_none());
        alive.with_context(|| format!("no pod of {namespace}/{app} in {}", self.name))
    }

    /// Waits until a Service exists.
    pub(crate) async fn service(&self, namespace: &str, name: &str) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let started = Instant::now();
        while services.get_opt(name).await?.is_none() {
            anyhow::ensure!(started.elapsed() < PATIENCE, "{}: no Service {namespace}/{name}", self.name);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
}

/// Installs a mesh in each cluster under one trust anchor, and links them both ways.
pub(crate) async fn mesh(sandbox: &Sandbox, clusters: [&Cluster; 2]) -> Result<()> {
    let trust = sandbox.file("trust");
    let dir = trust.display().to_string();
    sandbox.meshctl(&["trust", "init", "--out", &dir, "--issuer", "east", "--issuer", "west"]).await?;
    let [east, west] = clusters;
    tokio::try_join!(install(sandbox, east, &trust), install(sandbox, west, &trust))?;
    Ok(())
}

async fn install(sandbox: &Sandbox, cluster: &Cluster, trust: &Path) -> Result<()> {
    cluster.apply(&cluster.meshctl(sandbox, &["install", "--crds"]).await?).await?;
    let file = |name: &str| trust.join(name).display().to_string();
    let (anchors, cert, key) = (
        file("ca.crt"),
        file(&format!("{}-issuer.crt", cluster.name)),
        file(&format!("{}-issuer.key", cluster.name)),
    );
    let flags = [
        "install",
        "--identity-trust-anchors-file",
        &anchors,
        "--identity-issuer-certificate-file",
        &cert,
        "--identity-issuer-key-file",
        &key,
    ];
    cluster.apply(&cluster.meshctl(sandbox, &flags).await?).await?;
    cluster.rolled_out("linkerd").await?;
    cluster.apply(&cluster.meshctl(sandbox, &["multicluster", "install"]).await?).await?;
    cluster.rolled_out("linkerd-multicluster").await
}

/// Links `from` (which exports) to `to`, and back.
pub(crate) async fn link(sandbox: &Sandbox, from: &Cluster, to: &Cluster) -> Result<()> {
    let flags = ["multicluster", "link", "--to-context", &to.name, "--both"];
    from.meshctl(sandbox, &flags).await.map(drop)
}
