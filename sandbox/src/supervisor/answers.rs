//! The supervisor's answers to control requests.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_apiserver::{PatchKind, Selection};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Hosted, Recording, Supervisor};
use crate::capture;
use crate::cluster::another_address;
use crate::control::{Control, Request};
use crate::controllers::object;
use crate::error::Error;
use crate::faults::{Faults, api_rules};
use crate::network::NetNs;
use crate::services::run_nft;
use crate::streaming::ContainerName;
use crate::up::{ClusterStatus, FaultStatus, Status};

impl Control for Supervisor {
    async fn answer(&self, request: Request) -> Result<Value, Error> {
        match request {
            Request::Status => self.status(),
            Request::Partition { a, b } => self.fault(&[&a, &b], |faults| faults.partition(&a, &b)),
            Request::Latency { from, to, microseconds } => {
                let latency = Duration::from_micros(microseconds);
                self.fault(&[&from, &to], |faults| faults.latency(&from, &to, latency))
            }
            Request::Bandwidth { from, to, bits_per_second } => {
                self.fault(&[&from, &to], |faults| faults.bandwidth(&from, &to, bits_per_second))
            }
            Request::Heal => self.fault(&[], |faults| *faults = Faults::default()),
            Request::StopApi { cluster } => self.set_api(&cluster, true).await,
            Request::StartApi { cluster } => self.set_api(&cluster, false).await,
            Request::Capture { cluster, namespace, pod, file } => {
                self.capture(&cluster, &namespace, &pod, file)
            }
            Request::EndCapture { capture } => self.end_capture(capture).await,
            Request::Kill { cluster, namespace, pod, container, signal } => {
                let at = ContainerName { namespace, pod, container };
                self.hosted(&cluster)?.cluster.pods.kill(&at, signal)?;
                Ok(Value::Null)
            }
            Request::ReleaseAddress { cluster, namespace, service } => {
                self.release_address(&cluster, &namespace, &service).await
            }
            Request::Exec { cluster, namespace, pod, command } => {
                let pod = namespace.zip(pod);
                self.exec(&cluster, pod, command).await
            }
            Request::Shutdown => {
                self.stop();
                self.token.cancel();
                Ok(Value::Null)
            }
        }
    }
}

impl Supervisor {
    fn hosted(&self, name: &str) -> Result<&Hosted, Error> {
        let found = self.clusters.iter().find(|hosted| hosted.cluster.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.clusters.iter().map(|hosted| hosted.cluster.name.as_str()).collect();
            Error::Refused(format!("no cluster {name:?} runs here (there is {})", known.join(", ")))
        })
    }

    fn fault(&self, clusters: &[&str], change: impl FnOnce(&mut Faults)) -> Result<Value, Error> {
        for name in clusters {
            self.hosted(name)?;
        }
        let mut faults = self.faults.lock();
        let mut changed = faults.clone();
        change(&mut changed);
        self.wan.apply(&changed)?;
        *faults = changed;
        Ok(json!(faults.describe()))
    }

    async fn set_api(&self, cluster: &str, stopped: bool) -> Result<Value, Error> {
        let hosted = self.hosted(cluster)?;
        let listeners: &[SocketAddrV4] = &hosted.cluster.listeners;
        let script = api_rules(stopped, listeners);
        let applied = hosted.runtime.spawn_blocking(move || run_nft(&script)).await;
        applied.map_err(|error| Error::Refused(error.to_string()))??;
        hosted.cluster.set_stopped(stopped);
        Ok(Value::Null)
    }

    fn pod_netns(&self, cluster: &str, namespace: &str, pod: &str) -> Result<NetNs, Error> {
        let found = self.hosted(cluster)?.cluster.pods.netns(namespace, pod);
        found.ok_or_else(|| Error::Refused(format!("pod {namespace}/{pod} does not run in {cluster}")))
    }

    fn capture(&self, cluster: &str, namespace: &str, pod: &str, file: PathBuf) -> Result<Value, Error> {
        let failed =
            |source| Error::System { action: format!("capture packets of {namespace}/{pod}"), source };
        let netns = self.pod_netns(cluster, namespace, pod)?;
        let socket = netns.run(capture::open).and_then(|socket| socket).map_err(failed)?;
        let token = CancellationToken::new();
        let ended = token.clone();
        let packets = tokio::task::spawn_blocking(move || capture::record(socket, &file, &ended));
        let number = self.capture_number();
        self.captures.lock().insert(number, Recording { token, packets });
        Ok(json!(number))
    }

    async fn end_capture(&self, number: u64) -> Result<Value, Error> {
        let recording = self.captures.lock().remove(&number);
        let recording = recording.ok_or_else(|| Error::Refused(format!("no capture {number} is running")))?;
        recording.token.cancel();
        let written = recording.packets.await.map_err(|error| Error::Refused(error.to_string()))?;
        let count =
            written.map_err(|source| Error::System { action: "write the capture".to_owned(), source })?;
        Ok(json!(count))
    }

    /// Gives a load balancer another address than the one it has.
    async fn release_address(&self, cluster: &str, namespace: &str, service: &str) -> Result<Value, Error> {
        let hosted = self.hosted(cluster)?;
        let client = &hosted.cluster.client;
        let refused = |error: mesh_apiserver::ApiError| Error::Refused(error.to_string());
        let held = client.get("services", namespace, service).map_err(refused)?;
        let address = object::text(&held, "/status/loadBalancer/ingress/0/ip");
        let given_up = address.parse().map_err(|_| {
            Error::Refused(format!("service {namespace}/{service} in {cluster} has no load balancer address"))
        })?;
        let (services, _) = client.list("services", &Selection::default()).map_err(refused)?;
        let next = another_address(hosted.cluster.pool, given_up, services.iter().map(|service| &**service));
        let next = next.ok_or_else(|| Error::Refused(format!("no other address is free in {cluster}")))?;
        let patch = json!({ "spec": { "loadBalancerIP": next } });
        client.patch("services", namespace, service, "", PatchKind::Merge, patch).await.map_err(refused)?;
        Ok(json!(next))
    }

    async fn exec(
        &self,
        cluster: &str,
        pod: Option<(String, String)>,
        command: Vec<String>,
    ) -> Result<Value, Error> {
        let netns = match pod {
            Some((namespace, pod)) => self.pod_netns(cluster, &namespace, &pod)?,
            None => self.hosted(cluster)?.cluster.network.netns().clone(),
        };
        let [program, arguments @ ..] = &command[..] else {
            return Err(Error::Refused("no command given".to_owned()));
        };
        let (program, arguments) = (program.clone(), arguments.to_vec());
        let failed = |source| Error::System { action: format!("run {}", command.join(" ")), source };
        let run = move || netns.run(|| std::process::Command::new(program).args(arguments).output());
        let output =
            tokio::task::spawn_blocking(run).await.map_err(|error| Error::Refused(error.to_string()))?;
        let output = output.and_then(|output| output).map_err(failed)?;
        Ok(json!({
            "code": output.status.code(),
            "stdout": String::from_utf8_lossy(&output.stdout),
            "stderr": String::from_utf8_lossy(&output.stderr),
        }))
    }

    fn status(&self) -> Result<Value, Error> {
        let faults = self.faults.lock().describe().into_iter();
        let status = Status {
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            kubeconfig: self.state.kubeconfig(),
            clusters: self.clusters.iter().map(cluster_status).collect::<Result<_, _>>()?,
            faults: faults
                .map(|fault| FaultStatus { from: fault.from, to: fault.to, fault: fault.fault })
                .collect(),
        };
        serde_json::to_value(status).map_err(|error| Error::Refused(error.to_string()))
    }
}

fn cluster_status(hosted: &Hosted) -> Result<ClusterStatus, Error> {
    let cluster = &hosted.cluster;
    let list = |resource: &str| {
        let listed = cluster.client.list(resource, &Selection::default());
        listed.map(|(objects, _)| objects).map_err(|error| Error::Refused(error.to_string()))
    };
    let pods = list("pods")?;
    let running =
        |pod: &&std::sync::Arc<Value>| !matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    Ok(ClusterStatus {
        name: cluster.name.clone(),
        server: cluster.server.clone(),
        api_serving: !cluster.is_stopped(),
        node_ready: list("nodes")?.iter().any(|node| object::is_true(node, "Ready")),
        node_address: cluster.network.net().node_ip(),
        pods_ready: pods.iter().filter(|pod| object::is_true(pod, "Ready")).count(),
        pods: pods.iter().filter(running).count(),
        services: list("services")?.len(),
        netns: netns_path(cluster.network.netns()),
    })
}

fn netns_path(netns: &NetNs) -> PathBuf {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    Path::new("/proc")
        .join(std::process::id().to_string())
        .join("fd")
        .join(netns.as_fd().as_raw_fd().to_string())
}
