//! A node with its API server and network, and pods of shell scripts.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mesh_apiserver::{ApiServer, Config, DeleteOptions, Handle};

use super::super::*;
use crate::network::{ClusterNet, Wan};
use crate::streaming::{Command, ContainerName, Pods as _};

pub(super) struct Bed {
    api: Handle,
    pub(super) client: LocalClient,
    pub(super) node: Node,
    pub(super) network: ClusterNetwork,
    token: CancellationToken,
    pub(super) directory: tempfile::TempDir,
}

/// Runs a test on a runtime whose threads are in the cluster's namespace, as in the supervisor.
pub(super) fn on_node<F: Future<Output = ()>>(test: impl FnOnce(Bed) -> F) {
    let wan = Wan::create().unwrap();
    let net = ClusterNet {
        index: 1,
        name: "east".into(),
        pod_cidr: "10.42.0.0/16".parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
        flat: false,
    };
    let network = ClusterNetwork::create(&wan, net).unwrap();
    let inside = network.netns().clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || inside.enter().unwrap())
        .build()
        .unwrap();
    let bed = runtime.block_on(async {
        let api = ApiServer::start(Config::default()).await.unwrap();
        let client = api.client("system:sandbox", &["system:masters"]);
        let directory = tempfile::tempdir().unwrap();
        let token = CancellationToken::new();
        let config = NodeConfig {
            client: client.clone(),
            network: network.clone(),
            bin_dirs: vec![crate::container::tests::shim().parent().unwrap().to_owned()],
            cluster_domain: "cluster.local".into(),
            name: "east-node".into(),
            run_dir: directory.path().join("node"),
        };
        let node = runtime.spawn({
            let token = token.clone();
            async move { Node::start(config, &token).unwrap() }
        });
        let node = node.await.unwrap();
        client.create("namespaces", json!({ "metadata": { "name": "shop" } })).await.unwrap();
        Bed { api, client, node, network, token, directory }
    });
    let (api, token) = (bed.api.clone(), bed.token.clone());
    runtime.block_on(test(bed));
    token.cancel();
    api.shutdown();
}

impl Bed {
    /// Creates a pod whose containers are all `sh` scripts: `(list, name, script, more)`.
    pub(super) async fn create(&self, name: &str, containers: &[(&str, &str, &str, Value)], spec: Value) {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "namespace": "shop", "name": name, "annotations": {}, "labels": { "app": name } },
            "spec": { "terminationGracePeriodSeconds": 1, "initContainers": [], "containers": [] },
        });
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        for (list, container, script, more) in containers {
            pod["metadata"]["annotations"][format!("sandbox.isthmus.dev/executable.{container}")] =
                "/usr/bin/env".into();
            let mut spec = json!({ "name": container, "image": "x", "command": ["sh", "-c", script] });
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            pod["spec"][list].as_array_mut().unwrap().push(spec);
        }
        self.client.create("pods", pod).await.unwrap();
    }

    pub(super) async fn until(&self, name: &str, reached: impl Fn(&Value) -> bool) -> Arc<Value> {
        let fields = format!("metadata.name={name}");
        let selection = Selection { namespace: "shop".into(), fields, ..Selection::default() };
        let mut changes = self.client.watch("pods", &selection).unwrap();
        let waiting = async {
            loop {
                if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = changes.next().await.unwrap()
                    && reached(&pod)
                {
                    return pod;
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(15), waiting).await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "{name}: {:#}\nevents: {:#?}\nlogs: {:#?}",
                self.client.get("pods", "shop", name).unwrap()["status"],
                self.events(name),
                self.logs(name)
            ),
        }
    }

    pub(super) async fn ready(&self, name: &str) -> Ipv4Addr {
        let pod = self.until(name, |pod| object::is_true(pod, "Ready")).await;
        object::text(&pod, "/status/podIP").parse().unwrap()
    }

    pub(super) async fn ended(&self, name: &str) -> Arc<Value> {
        let over = |pod: &Value| matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
        self.until(name, over).await
    }

    pub(super) async fn delete(&self, name: &str, grace: Option<i64>) {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        self.client.delete("pods", "shop", name, &options).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.client.get("pods", "shop", name).is_ok() {
            assert!(Instant::now() < deadline, "{name} was not removed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for an event about the pod that begins and goes on as said: events are written after the status.
    pub(super) async fn told(&self, name: &str, begins: &str, says: &str) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !self.events(name).iter().any(|event| event.starts_with(begins) && event.contains(says)) {
            assert!(Instant::now() < deadline, "{name}, {begins}: {:#?}", self.events(name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn events(&self, name: &str) -> Vec<String> {
        let (events, _) = self.client.list("events", &Selection::namespace("shop")).unwrap();
        let about = events.iter().filter(|event| object::text(event, "/involvedObject/name") == name);
        about
            .map(|event| format!("{}: {}", object::text(event, "/reason"), object::text(event, "/message")))
            .collect()
    }

    pub(super) fn logs(&self, name: &str) -> Vec<String> {
        let pod = self.client.get("pods", "shop", name).unwrap();
        let all =
            ["/spec/initContainers", "/spec/containers"].iter().flat_map(|list| object::items(&pod, list));
        all.map(|spec| {
            format!("{}: {}", object::text(spec, "/name"), self.log(name, object::text(spec, "/name")))
        })
        .collect()
    }

    pub(super) fn log(&self, name: &str, container: &str) -> String {
        let Ok(log) = self.node.log("shop", name, container, false) else { return String::new() };
        let text = std::fs::read_to_string(log.path).unwrap();
        let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        lines.join("\n")
    }
}

/// A web server on a port, answering every request with its pod's name.
pub(super) fn server(port: u16) -> String {
    format!(
        "exec python3 -c \"
import http.server, socket
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(socket.gethostname().encode())
    def log_message(self, *a): pass
http.server.HTTPServer(('', {port}), H).serve_forever()\""
    )
}

pub(super) async fn exec(bed: &Bed, pod: &str, argv: &[&str]) -> (i32, String) {
    use tokio::io::AsyncReadExt as _;
    let at = ContainerName { namespace: "shop".into(), pod: pod.into(), container: "main".into() };
    let command =
        Command { argv: argv.iter().map(|&word| word.to_owned()).collect(), tty: false, stdin: false };
    let mut session = bed.node.exec(at, command).await.unwrap();
    let mut out = String::new();
    session.stdout.read_to_string(&mut out).await.unwrap();
    (session.exit.await, out)
}
