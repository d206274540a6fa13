//! What the story does to a cluster: the manifests that `meshctl` prints, applied; waits for conditions, not for time.

use crate::injector_ready::has_proxy;
use anyhow::{Context as _, Result, bail};
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::apps::v1::Deployment;
use mesh_kube::k8s_openapi::api::core::v1::{Pod, Service};
use mesh_kube::kube::Api;
use mesh_kube::kube::ResourceExt as _;
use mesh_kube::kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Nothing in the story takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// One cluster of the story.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) client: Client,
    kubeconfig: PathBuf,
}

impl Cluster {
    pub(crate) async fn connect(name: &str, kubeconfig: PathBuf) -> Result<Self> {
        let connection = mesh_kube::Connection {
            kubeconfig: Some(kubeconfig.clone()),
            context: Some(name.to_owned()),
            ..mesh_kube::Connection::default()
        };
        let client = mesh_kube::connect(&connection).await?;
        Ok(Self { name: name.to_owned(), client, kubeconfig })
    }

    /// Runs this very `meshctl` against the cluster and answers with its stdout.
    pub(crate) async fn meshctl(&self, args: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(std::env::current_exe()?)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--context", &self.name])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            bail!(
                "meshctl {}: {}\n{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Applies every document of a YAML text; a kind that is not served yet is tried again for a while.
    pub(crate) async fn apply(&self, yaml: &str) -> Result<()> {
        for object in serde_saphyr::from_multiple::<Value>(yaml).context("reading YAML")? {
            if object.is_null() {
                continue;
            }
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            let started = Instant::now();
            loop {
                match mesh_kube::apply(&self.client, "meshctl-demo", &object).await {
                    Ok(_) => break,
                    Err(error) if error.is_not_found() && started.elapsed() < Duration::from_secs(5) => {
                        tokio::time::sleep(LOOK).await;
                    }
                    Err(error) => bail!("cluster {}: {name}: {error}", self.name),
                }
            }
        }
        Ok(())
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
            if started.elapsed() > PATIENCE {
                bail!(
                    "cluster {}: {namespace}: not rolled out: {}\n{}",
                    self.name,
                    waiting.join(", "),
                    self.pods(namespace).await
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The pods of a namespace in words, for failures.
    async fn pods(&self, namespace: &str) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
        let lines = listed.iter().map(|pod| {
            let status = pod.status.clone().unwrap_or_default();
            let containers =
                status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
            let waiting = containers.filter(|c| !c.ready).map(|c| {
                let state = c.state.unwrap_or_default();
                let why = state.waiting.and_then(|w| w.reason).or(state.terminated.and_then(|t| t.reason));
                format!("{} {}", c.name, why.unwrap_or_else(|| "not ready".to_owned()))
            });
            format!("    {}: {}", pod.name_any(), waiting.collect::<Vec<_>>().join(", "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Pods with a label, and whether each carries a proxy.
    pub(crate) async fn meshed(&self, namespace: &str) -> Result<(usize, usize)> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default()).await?.items;
        Ok((listed.iter().filter(|pod| has_proxy(pod)).count(), listed.len()))
    }

    /// The name of a running pod with the label `app=<app>`.
    pub(crate) async fn pod(&self, namespace: &str, app: &str) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(&format!("app={app}"))).await?.items;
        let alive = listed.into_iter().find(|p| p.metadata.deletion_timestamp.is_none());
        Ok(alive.with_context(|| format!("no pod of {namespace}/{app} in {}", self.name))?.name_any())
    }

    /// Merges a patch into an object.
    pub(crate) async fn label_service(&self, namespace: &str, name: &str, labels: Value) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"metadata": {"labels": labels}});
        services.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until a Service exists.
    pub(crate) async fn service_exists(&self, namespace: &str, name: &str) -> Result<()> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let started = Instant::now();
        while services.get_opt(name).await?.is_none() {
            if started.elapsed() > PATIENCE {
                bail!("cluster {}: Service {namespace}/{name} does not appear", self.name);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Sets an environment variable of a Deployment's container of the same name, which rolls it out.
    pub(crate) async fn set_env(
        &self,
        namespace: &str,
        name: &str,
        variable: &str,
        value: &str,
    ) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let container = json!({"name": name, "env": [{"name": variable, "value": value}]});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        deployments.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        self.rolled_out(namespace).await
    }

    /// Sets the number of replicas without waiting.
    pub(crate) async fn scale(&self, namespace: &str, name: &str, replicas: u32) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"spec": {"replicas": replicas}});
        deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes a pod without any grace.
    pub(crate) async fn delete_pod_now(&self, namespace: &str, name: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
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
