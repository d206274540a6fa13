//! A highly available mesh on several nodes: 150 pods, and a node that is taken away from under them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, Load, eventually, shop_in, within};
use std::collections::BTreeMap;
use std::time::Duration;

const NS: &str = "many";
const PODS: usize = 150;

/// A small machine starts about one injected pod a second.
const MINUTES: Duration = Duration::from_secs(900);

/// With `--ha` a proxy asks for a tenth of a core, of which small nodes have not enough for so many.
fn many(cluster: &Cluster) {
    let manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: many, namespace: {NS} }}\nspec:\n  \
         selector: {{ app: many }}\n  ports: [{{ name: http, port: 80, targetPort: http, appProtocol: http }}]\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: many, namespace: {NS} }}\nspec:\n  \
         replicas: {PODS}\n  selector: {{ matchLabels: {{ app: many }} }}\n  template:\n    metadata:\n      \
         labels: {{ app: many }}\n      annotations:\n        config.linkerd.io/proxy-cpu-request: 5m\n        \
         config.linkerd.io/proxy-memory-request: 10Mi\n    spec:\n      \
         topologySpreadConstraints:\n        - maxSkew: 5\n          topologyKey: kubernetes.io/hostname\n          \
         whenUnsatisfiable: ScheduleAnyway\n          labelSelector: {{ matchLabels: {{ app: many }} }}\n      \
         containers:\n        - name: many\n          image: isthmus/demo:0.1.0\n          args: [catalog]\n          \
         ports: [{{ name: http, containerPort: 8080 }}]\n          \
         readinessProbe: {{ httpGet: {{ path: /ready, port: http }}, periodSeconds: 10 }}\n"
    );
    cluster.apply(&manifests).unwrap();
}

/// Ready pods by node; every one of them has a proxy.
fn ready_by_node(cluster: &Cluster) -> BTreeMap<String, usize> {
    let pods = cluster.get(&["-n", NS, "pods", "-l", "app=many"]).unwrap();
    let mut nodes = BTreeMap::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if ready && pod["metadata"]["deletionTimestamp"].is_null() {
            assert!(pod["spec"].to_string().contains("\"linkerd-proxy\""), "{pod}");
            *nodes.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
    }
    nodes
}

#[test]
#[ignore = "needs a cluster of several nodes: cargo xtask kind test --config ha"]
fn a_hundred_and_fifty_pods_on_three_nodes_lose_one_of_them_without_a_failed_request() {
    let fleet = Fleet::bare();
    let east = &fleet.east;
    let workers: Vec<_> =
        fleet.kind().nodes("east").unwrap().into_iter().skip(1).map(|node| node.name).collect();
    assert!(workers.len() >= 3, "three workers are needed, there are {workers:?}");
    fleet.install_in(east, &["--ha"]).unwrap();
    let status = fleet.shell("meshctl check").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(status.contains("Status check results are √"), "{status}");
    shop_in(east, NS).unwrap();
    let began = std::time::Instant::now();
    many(east);
    let nodes = within(MINUTES, "all pods are ready", || {
        let nodes = ready_by_node(east);
        if nodes.values().sum::<usize>() == PODS { Ok(nodes) } else { Err(nodes) }
    });
    println!("{PODS} pods ready after {:.0} s: {nodes:?}", began.elapsed().as_secs_f64());
    assert!(
        workers.iter().all(|worker| nodes.get(worker).is_some_and(|count| *count >= PODS / 5)),
        "{nodes:?}"
    );
    eventually("the control plane tells of every one", || {
        let told = east.meshctl(&["diagnostics", "endpoints", &format!("many.{NS}.svc.cluster.local:80")])?;
        let count = told.lines().filter(|line| line.contains("many-")).count();
        anyhow::ensure!(count == PODS, "{count}\n{told}");
        Ok(())
    });

    let load = Load::deploy(east, NS, "many:80", "/ready").unwrap();
    load.rate(100).unwrap();
    let since = load.settles("steady load on all of them", |_| true);
    let from =
        east.get(&["-n", NS, "pods", "-l", "app=load"]).unwrap()["items"][0]["spec"]["nodeName"].take();
    let victim = workers.iter().find(|worker| from != worker.as_str()).unwrap();
    let drain = ["drain", victim, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=600s"];
    east.kubectl(&drain).unwrap();
    within(MINUTES, "all pods are ready elsewhere", || {
        let nodes = ready_by_node(east);
        let away = !nodes.contains_key(victim);
        if away && nodes.values().sum::<usize>() == PODS { Ok(()) } else { Err(nodes) }
    });
    let stats = load.stats(since).unwrap();
    println!("{} requests, {} failed, p99 {} µs", stats["total"], stats["failed"], stats["p99_us"]);
    assert_eq!(stats["failed"], 0, "{stats}");
    east.kubectl(&["uncordon", victim]).unwrap();
}
