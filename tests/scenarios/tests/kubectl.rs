//! A stock kubectl on a cluster with running pods: what people do every day, with the words they expect.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mesh_scenarios::{Cluster, Fleet, SHOP, eventually, shop_in};
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::LazyLock;

static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::bare);

/// A kubectl that runs until it is dropped, and what it says. It would die of a closed pipe.
struct Running(Child, Lines<BufReader<ChildStdout>>);

impl Running {
    fn start(cluster: &Cluster, args: &[&str]) -> Self {
        let mut command = cluster.kubectl_command(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self(child, said)
    }

    fn line(&mut self) -> String {
        self.1.next().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn image(cluster: &Cluster, ns: &str) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    cluster.kubectl(&["-n", ns, "get", "deploy", "web", "-o", path]).unwrap()
}

#[test]
fn deployments_roll_out_restart_and_roll_back() {
    let (east, ns) = (&FLEET.east, "rollouts");
    shop_in(east, ns).unwrap();
    let web = |args: &[&str]| {
        let mut all = vec!["-n", ns, "rollout"];
        all.extend(args);
        all.push("deployment/web");
        east.kubectl(&all).unwrap()
    };
    let shipped = image(east, ns);
    let before = east.pod(ns, "web").unwrap();
    web(&["restart"]);
    assert!(web(&["status", "--timeout=60s"]).contains("successfully rolled out"));
    assert_ne!(east.pod(ns, "web").unwrap(), before);
    east.kubectl(&["-n", ns, "set", "image", "deploy/web", "*=isthmus/nothing:0"]).unwrap();
    let stuck = east.kubectl(&["-n", ns, "rollout", "status", "deploy/web", "--timeout=2s"]);
    assert!(format!("{:#}", stuck.unwrap_err()).contains("timed out"));
    let why = eventually("the missing image is named", || {
        let pods = east.kubectl(&["-n", ns, "get", "pods", "-l", "app=web"]).unwrap();
        let named = pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff");
        if named { Ok(pods) } else { Err(pods) }
    });
    assert!(why.contains("Running"), "the old pod goes on serving: {why}");
    web(&["undo"]);
    web(&["status", "--timeout=60s"]);
    assert_eq!(image(east, ns), shipped);
    assert!(web(&["history"]).contains("REVISION"));
    east.kubectl(&["-n", ns, "scale", "deploy/web", "--replicas=3"]).unwrap();
    let all = "--for=jsonpath={.status.readyReplicas}=3";
    east.kubectl(&["-n", ns, "wait", all, "deploy/web", "--timeout=60s"]).unwrap();
    let available = "--for=condition=Available";
    east.kubectl(&["-n", ns, "wait", available, "deploy", "--all", "--timeout=60s"]).unwrap();
}

#[test]
fn manifests_are_applied_from_both_sides() {
    let (east, ns) = (&FLEET.east, "applied");
    shop_in(east, ns).unwrap();
    let manifests = SHOP
        .replace("namespace: shop", &format!("namespace: {ns}"))
        .replace("name: shop", &format!("name: {ns}"));
    let file = FLEET.scratch("applied.yaml");
    std::fs::write(&file, &manifests).unwrap();
    let file = file.to_str().unwrap();
    let again = east.kubectl(&["apply", "-f", file]).unwrap();
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    let server = ["apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", file];
    let server = east.kubectl(&server).unwrap();
    assert!(server.lines().all(|line| line.ends_with(" serverside-applied")), "{server}");
    let dry = east.kubectl(&["diff", "-f", file]).unwrap();
    assert_eq!(dry, "", "nothing differs");
}

#[test]
fn logs_are_read_followed_and_kept_over_a_restart() {
    let (east, ns) = (&FLEET.east, "logs");
    shop_in(east, ns).unwrap();
    let pod = east.pod(ns, "web").unwrap();
    let read = eventually("web says something", || {
        let text = east.kubectl(&["-n", ns, "logs", &pod]).unwrap();
        if text.is_empty() { Err("nothing") } else { Ok(text) }
    });
    let first = read.lines().next().unwrap();
    let stamped = east.kubectl(&["-n", ns, "logs", "deploy/web", "--timestamps", "--tail=1"]).unwrap();
    assert!(stamped.starts_with("20"), "{stamped}");
    let mut follower = Running::start(east, &["-n", ns, "logs", "-f", &pod]);
    assert_eq!(follower.line(), first);
    FLEET.faults().kill("east", ns, &pod, "web").unwrap();
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    eventually("the container is restarted", || {
        let count = east.kubectl(&["-n", ns, "get", "pod", &pod, "-o", restarts]).unwrap();
        if count == "1" { Ok(()) } else { Err(count) }
    });
    let previous = east.kubectl(&["-n", ns, "logs", "--previous", &pod]).unwrap();
    assert_eq!(previous.lines().next(), Some(first));
    assert!(follower.0.wait().unwrap().success(), "the follower ends with the container");
}

#[test]
fn exec_gives_output_and_exit_code() {
    let (east, ns) = (&FLEET.east, "exec");
    shop_in(east, ns).unwrap();
    let exec = |args: &[&str]| {
        let mut all = vec!["-n", ns, "exec", "deploy/web", "--", "/isthmus/isthmus-demo"];
        all.extend(args);
        east.kubectl(&all)
    };
    assert!(exec(&["--version"]).unwrap().starts_with("isthmus-demo "));
    let refused = format!("{:#}", exec(&["no-such-command"]).unwrap_err());
    assert!(refused.contains("exit code 2") && refused.contains("no-such-command"), "{refused}");
    assert_eq!(east.call_ok(ns, "web", &["catalog:80/items"]).status(), Some(200));
    let missing = east.kubectl(&["-n", ns, "exec", "deploy/web", "-c", "nobody", "--", "x"]).unwrap_err();
    assert!(format!("{missing:#}").contains("nobody"), "{missing:#}");
}

#[test]
fn a_port_is_forwarded_to_a_pod_and_to_a_service() {
    let (east, ns) = (&FLEET.east, "forwards");
    shop_in(east, ns).unwrap();
    // Nodes hear of a Service a moment after its pods are ready.
    east.call_ok(ns, "web", &["catalog:80/items"]);
    for (target, port) in [("deploy/web", "8080"), ("service/web", "80")] {
        let mut forward = Running::start(east, &["-n", ns, "port-forward", target, &format!(":{port}")]);
        let said = forward.line();
        let local = said.strip_prefix("Forwarding from ").and_then(|s| s.split(' ').next()).unwrap();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(local).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        }
    }
}

#[test]
fn objects_are_listed_described_and_deleted() {
    let (east, ns) = (&FLEET.east, "listed");
    shop_in(east, ns).unwrap();
    let pods = east.kubectl(&["-n", ns, "get", "pods", "-o", "wide"]).unwrap();
    assert!(pods.starts_with("NAME") && pods.contains("READY") && pods.contains("NOMINATED NODE"), "{pods}");
    assert!(pods.lines().skip(1).all(|line| line.contains("1/1") && line.contains("Running")), "{pods}");
    let nodes = east.kubectl(&["get", "nodes"]).unwrap();
    assert!(nodes.lines().skip(1).all(|line| line.contains(" Ready ")), "{nodes}");
    let described = east.kubectl(&["-n", ns, "describe", "pod", "-l", "app=web"]).unwrap();
    for part in ["Controlled By:  ReplicaSet/", "Ready:          True", "Successfully assigned", "Started"] {
        assert!(described.contains(part), "{part:?} is missing:\n{described}");
    }
    let service = east.kubectl(&["-n", ns, "describe", "service", "web"]).unwrap();
    assert!(service.contains("Endpoints:") && service.contains(":8080"), "{service}");
    let events = east.kubectl(&["-n", ns, "get", "events", "--sort-by=.lastTimestamp"]).unwrap();
    assert!(events.contains("SuccessfulCreate"), "{events}");
    east.kubectl(&["-n", ns, "delete", "deploy/web", "--timeout=60s"]).unwrap();
    east.kubectl(&["-n", ns, "wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]).unwrap();
    east.kubectl(&["delete", "namespace", ns, "--timeout=90s"]).unwrap();
    let gone = format!("{:#}", east.kubectl(&["get", "namespace", ns]).unwrap_err());
    assert!(gone.contains("NotFound"), "{gone}");
}
