//! The node against the real API server, on a network of its own. Needs root.

mod bed;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::streaming::{Command, ContainerName, Pods as _};
use bed::{exec, on_node, server};

#[test]
fn two_pods_reach_each_other_and_are_gone_after_deletion() {
    on_node(|bed| async move {
        let probe = json!({ "readinessProbe": { "httpGet": { "path": "/", "port": 8080 } } });
        bed.create("web", &[("containers", "main", &server(8080), probe)], json!({})).await;
        let web = bed.ready("web").await;
        let script = format!(
            "exec python3 -c \"import urllib.request as u; print(u.urlopen('http://{web}:8080/').read().decode())\""
        );
        let once = json!({ "restartPolicy": "Never" });
        bed.create("client", &[("containers", "main", &script, json!({}))], once).await;
        let client = bed.ended("client").await;
        assert_eq!(object::text(&client, "/status/phase"), "Succeeded", "{:?}", bed.logs("client"));
        assert_eq!(bed.log("client", "main"), "web");
        bed.delete("web", None).await;
        bed.delete("client", None).await;
        let dial = || TcpStream::connect_timeout(&SocketAddr::from((web, 8080)), Duration::from_secs(1));
        let gone = bed.network.netns().run(dial).unwrap();
        assert!(gone.is_err());
        for reason in ["Scheduled", "Pulled", "Created", "Started", "Killing"] {
            bed.told("web", reason, "").await;
        }
    });
}

#[test]
fn init_containers_run_in_order_and_a_sidecar_must_start_before_what_follows() {
    on_node(|bed| async move {
        let volume = json!({ "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] });
        let mut sidecar = volume.clone();
        sidecar["restartPolicy"] = "Always".into();
        sidecar["startupProbe"] = json!({ "exec": { "command": ["test", "-e", "/shared/warm"] } });
        let write = |word: &str| format!("echo {word} >> /shared/order");
        bed.create(
            "ordered",
            &[
                ("initContainers", "first", &write("first"), volume.clone()),
                (
                    "initContainers",
                    "proxy",
                    "trap 'echo proxy ends >> /shared/order; exit' TERM; echo proxy >> /shared/order; sleep 0.3; \
                     touch /shared/warm; while :; do sleep 0.02; done",
                    sidecar,
                ),
                ("initContainers", "second", &write("second"), volume.clone()),
                ("containers", "main", "echo main >> /shared/order; cat /shared/order; sleep 0.1", volume),
            ],
            json!({ "restartPolicy": "Never", "volumes": [{ "name": "shared", "emptyDir": {} }] }),
        )
        .await;
        let pod = bed.ended("ordered").await;
        assert_eq!(bed.log("ordered", "main"), "first\nproxy\nsecond\nmain");
        assert_eq!(object::text(&pod, "/status/phase"), "Succeeded");
        let stopped = bed
            .until("ordered", |pod| pod.pointer("/status/initContainerStatuses/1/state/terminated").is_some())
            .await;
        assert_eq!(stopped["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
        assert!(object::is_true(&pod, "PodScheduled"));
    });
}

#[test]
fn a_failing_init_container_fails_a_pod_that_never_restarts() {
    on_node(|bed| async move {
        let never = json!({ "restartPolicy": "Never" });
        let containers =
            [("initContainers", "setup", "exit 5", json!({})), ("containers", "main", "true", json!({}))];
        bed.create("broken", &containers, never).await;
        let pod = bed.ended("broken").await;
        assert_eq!(object::text(&pod, "/status/phase"), "Failed");
        assert_eq!(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 5);
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    });
}

#[test]
fn environment_volumes_and_identity_are_what_the_pod_says() {
    on_node(|bed| async move {
        let config = json!({ "metadata": { "namespace": "shop", "name": "settings" }, "data": { "a": "1", "b": "2" } });
        bed.client.create("configmaps", config).await.unwrap();
        let secret =
            json!({ "metadata": { "namespace": "shop", "name": "keys" }, "stringData": { "k": "s3cret" } });
        bed.client.create("secrets", secret).await.unwrap();
        let script = "echo $A $B $C $POD $WHERE; cat /etc/settings/a /etc/keys/k /etc/info/labels; echo; id -u; id -G; \
                      cut -d. -f1 /var/run/secrets/kubernetes.io/serviceaccount/token | base64 -d 2>/dev/null | grep -o alg; \
                      cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
                      grep search /etc/resolv.conf; echo x > /etc/settings/a; while :; do sleep 1; done";
        let more = json!({
            "env": [
                { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "a" } } },
                { "name": "B", "value": "<$(A)>" },
                { "name": "C", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "k" } } },
                { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "WHERE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            ],
            "volumeMounts": [
                { "name": "settings", "mountPath": "/etc/settings" }, { "name": "keys", "mountPath": "/etc/keys" },
                { "name": "info", "mountPath": "/etc/info" },
            ],
        });
        let spec = json!({
            "securityContext": { "runAsUser": 1234, "runAsGroup": 1234, "fsGroup": 4321 },
            "volumes": [
                { "name": "settings", "configMap": { "name": "settings" } },
                { "name": "keys", "secret": { "secretName": "keys", "defaultMode": 256 } },
                { "name": "info", "downwardAPI": { "items": [
                    { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } } ] } },
            ],
        });
        bed.create("env", &[("containers", "main", script, more)], spec).await;
        bed.ready("env").await;
        let deadline = Instant::now() + Duration::from_secs(15);
        let whole = |log: String| log.contains("Read-only") && log.contains("search");
        while !whole(bed.log("env", "main")) {
            assert!(Instant::now() < deadline, "{:?}", bed.logs("env"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Two streams keep no order between them.
        let log = bed.log("env", "main");
        let log: Vec<&str> = log.lines().filter(|line| !line.contains("Read-only")).collect();
        let log = log.join("\n");
        let expected = "1 <1> s3cret env east-node\n1s3cretapp=\"env\"\n1234\n1234 4321\nalg\nshop\n\
                        search shop.svc.cluster.local svc.cluster.local cluster.local";
        assert!(log.starts_with(expected), "{log}");

        let patch = json!({ "data": { "a": "changed" } });
        bed.client.patch("configmaps", "shop", "settings", "", PatchKind::Merge, patch).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(15);
        while exec(&bed, "env", &["cat", "/etc/settings/a"]).await != (0, "changed".into()) {
            assert!(Instant::now() < deadline, "the volume did not follow");
        }
    });
}

#[test]
fn commands_run_in_containers_with_streams_and_terminals() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    on_node(|bed| async move {
        bed.create("host", &[("containers", "main", "sleep 100", json!({}))], json!({})).await;
        bed.ready("host").await;
        assert_eq!(exec(&bed, "host", &["sh", "-c", "hostname; exit 3"]).await, (3, "host\n".into()));
        let at = ContainerName { namespace: "shop".into(), pod: "host".into(), container: "main".into() };
        let argv = ["sh", "-c", "read line; echo got $line; echo oops >&2"].map(str::to_owned).to_vec();
        let command = Command { argv, tty: false, stdin: true };
        let mut session = bed.node.exec(at.clone(), command).await.unwrap();
        session.stdin.take().unwrap().write_all(b"word\n").await.unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.read_to_string(&mut out).await.unwrap();
        session.stderr.unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str(), session.exit.await), ("got word\n", "oops\n", 0));

        let argv = ["sh", "-c", "stty size; test -t 0 && test -t 1 && echo terminal; read x"]
            .map(str::to_owned)
            .to_vec();
        let mut session = bed.node.exec(at, Command { argv, tty: true, stdin: true }).await.unwrap();
        (session.resize)(80, 24);
        let mut seen = String::new();
        let mut chunk = [0; 256];
        while !seen.contains("terminal") {
            let length = session.stdout.read(&mut chunk).await.unwrap();
            seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        session.stdin.unwrap().write_all(b"\n").await.unwrap();
        assert_eq!(session.exit.await, 0);
    });
}

#[test]
fn probes_gate_readiness_and_a_dead_container_is_started_again() {
    on_node(|bed| async move {
        let more = json!({
            "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
            "livenessProbe": {
                "exec": { "command": ["sh", "-c", "! test -e /tmp/dead"] }, "periodSeconds": 1, "failureThreshold": 1,
            },
        });
        bed.create("probed", &[("containers", "main", &server(8080), more)], json!({})).await;
        bed.ready("probed").await;
        assert_eq!(exec(&bed, "probed", &["touch", "/tmp/dead"]).await.0, 0);
        let restarted = bed
            .until("probed", |pod| {
                pod["status"]["containerStatuses"][0]["restartCount"] == 1 && object::is_true(pod, "Ready")
            })
            .await;
        let last = &restarted["status"]["containerStatuses"][0]["lastState"]["terminated"];
        assert_eq!(last["exitCode"], 137, "{last}");
        bed.told("probed", "Unhealthy: Liveness probe failed", "").await;
        assert!(bed.node.log("shop", "probed", "main", true).is_ok(), "the previous run's log");
    });
}

#[test]
fn hooks_run_and_the_grace_period_ends_patience() {
    on_node(|bed| async move {
        let more = json!({
            "lifecycle": {
                "postStart": { "exec": { "command": ["sh", "-c", "echo started > /shared/post"] } },
                "preStop": { "exec": { "command": ["sh", "-c", "echo stopping > /proc/1/fd/1"] } },
            },
            "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }],
        });
        let volumes = json!({ "volumes": [{ "name": "shared", "emptyDir": { "medium": "Memory" } }] });
        let script = "trap '' TERM; while :; do sleep 0.1; done";
        bed.create("hooked", &[("containers", "main", script, more)], volumes).await;
        bed.ready("hooked").await;
        assert_eq!(exec(&bed, "hooked", &["cat", "/shared/post"]).await.1, "started\n");
        let log = bed.node.log("shop", "hooked", "main", false).unwrap().path;
        let started = Instant::now();
        bed.delete("hooked", None).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
        assert!(std::fs::read_to_string(log).unwrap().contains("stopping"));

        bed.create(
            "stubborn",
            &[("containers", "main", script, json!({}))],
            json!({ "terminationGracePeriodSeconds": 60 }),
        )
        .await;
        bed.ready("stubborn").await;
        let started = Instant::now();
        bed.delete("stubborn", Some(0)).await;
        assert!(started.elapsed() < Duration::from_secs(30), "a forced deletion does not wait");
    });
}

#[test]
fn what_cannot_be_done_is_told() {
    on_node(|bed| async move {
        let pod = |name: &str, spec: Value| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": "shop", "name": name }, "spec": spec });
        let spec = json!({ "containers": [{ "name": "main", "image": "nginx:1.29" }] });
        bed.client.create("pods", pod("unknown", spec)).await.unwrap();
        let waiting = |reason: &'static str| {
            move |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        };
        bed.until("unknown", waiting("ImagePullBackOff")).await;
        bed.told("unknown", "Failed: Failed to pull image", "").await;

        let reference = json!({ "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "later", "key": "a" } } }] });
        bed.create("waits", &[("containers", "main", "echo $A; sleep 100", reference)], json!({})).await;
        bed.until("waits", waiting("CreateContainerConfigError")).await;
        let later = json!({ "metadata": { "namespace": "shop", "name": "later" }, "data": { "a": "1" } });
        bed.client.create("configmaps", later).await.unwrap();
        bed.ready("waits").await;

        bed.create(
            "limited",
            &[("containers", "main", "no-such-command", json!({}))],
            json!({ "hostPID": true }),
        )
        .await;
        bed.until("limited", waiting("CrashLoopBackOff")).await;
        bed.told("limited", "UnsupportedField", "spec.hostPID").await;
        bed.told("limited", "BackOff", "").await;
    });
}

#[test]
fn the_node_is_registered_and_keeps_its_lease() {
    on_node(|bed| async move {
        let deadline = Instant::now() + Duration::from_secs(15);
        while bed.client.get("leases.coordination.k8s.io", "kube-node-lease", "east-node").is_err() {
            assert!(Instant::now() < deadline, "no lease");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let node = bed.client.get("nodes", "", "east-node").unwrap();
        assert!(object::is_true(&node, "Ready"));
        assert_eq!(node["status"]["addresses"][0]["address"], bed.network.net().node_ip().to_string());
        assert!(bed.directory.path().join("node/pods").is_dir());
    });
}

#[test]
fn a_container_that_fails_is_run_until_it_succeeds_and_only_its_volumes_are_writable() {
    on_node(|bed| async move {
        let script = "touch /here 2>/dev/null && echo writable; echo x >> /data/tries; \
                      test $(wc -l < /data/tries) = 2 || { echo not yet > /dev/termination-log; exit 1; }";
        let more = json!({
            "securityContext": { "readOnlyRootFilesystem": true },
            "volumeMounts": [{ "name": "data", "mountPath": "/data", "subPath": "deep/part" }],
        });
        let spec = json!({ "restartPolicy": "OnFailure", "volumes": [{ "name": "data", "emptyDir": {} }] });
        bed.create("retry", &[("containers", "main", script, more)], spec).await;
        let pod = bed.ended("retry").await;
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(object::text(&pod, "/status/phase"), "Succeeded");
        assert_eq!((&container["restartCount"], bed.log("retry", "main").as_str()), (&json!(1), ""));
        assert_eq!(container["lastState"]["terminated"]["message"], "not yet\n");
    });
}

#[test]
fn a_pod_on_the_hosts_network_has_the_nodes_address() {
    on_node(|bed| async move {
        let probe = json!({ "readinessProbe": { "httpGet": { "port": "web" } }, "ports": [{ "name": "web", "containerPort": 8080 }] });
        bed.create("host", &[("containers", "main", &server(8080), probe)], json!({ "hostNetwork": true }))
            .await;
        assert_eq!(bed.ready("host").await, bed.network.net().node_ip());
        bed.delete("host", Some(0)).await;
    });
}

#[test]
fn a_hook_of_one_container_holds_up_the_next() {
    on_node(|bed| async move {
        let mount = json!([{ "name": "shared", "mountPath": "/shared" }]);
        let hook = "sleep 0.3; echo hook >> /shared/order";
        let first = json!({
            "volumeMounts": mount, "lifecycle": { "postStart": { "exec": { "command": ["sh", "-c", hook] } } },
        });
        let containers = [
            ("containers", "proxy", "sleep 100", first),
            ("containers", "main", "cat /shared/order; sleep 100", json!({ "volumeMounts": mount })),
        ];
        bed.create("classic", &containers, json!({ "volumes": [{ "name": "shared", "emptyDir": {} }] }))
            .await;
        bed.ready("classic").await;
        let deadline = Instant::now() + Duration::from_secs(15);
        while bed.log("classic", "main") != "hook" {
            assert!(Instant::now() < deadline, "{:?}", bed.logs("classic"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
