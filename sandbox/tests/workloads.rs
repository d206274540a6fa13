//! StatefulSets and DaemonSets on a node, and the streams of kubectl before 1.31, driven by a stock kubectl. Needs root,
//! kubectl, perl and bash.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test's helpers may panic

#[path = "support/bed.rs"]
mod bed;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use bed::{Bed, eventually, up};

/// Pods that say their name at their port, and a caller.
const WORKLOADS: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: db }
spec:
  replicas: 2
  serviceName: members
  selector: { matchLabels: { app: db } }
  template:
    metadata:
      labels: { app: db }
      annotations: { sandbox.isthmus.dev/executable.main: /usr/bin/perl }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: host/perl
        args:
        - -MIO::Socket::INET
        - -e
        - |
          $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 64, ReuseAddr => 1) or die;
          while ($c = $s->accept) { while (<$c>) { last unless /\S/ } print $c "HTTP/1.0 200 OK\r\n\r\n$ENV{NAME} $ENV{ANSWER}\n"; close $c }
        env:
        - { name: NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
        - { name: ANSWER, value: one }
        readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: members }
spec: { clusterIP: None, selector: { app: db }, ports: [{ port: 8080 }] }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata:
      labels: { app: agent }
      annotations: { sandbox.isthmus.dev/executable.main: /bin/bash }
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{ name: main, image: host/bash, args: [-c, "sleep infinity & wait"] }]
"#;

fn workloads() -> Bed {
    let bed = up(&["solo"]);
    bed.apply("solo", WORKLOADS);
    for workload in ["statefulset/db", "daemonset/agent"] {
        bed.kubectl("solo", &["rollout", "status", workload, "--timeout=60s"]);
    }
    bed
}

fn agent(bed: &Bed) -> String {
    bed.kubectl("solo", &["get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[0].metadata.name}"])
}

/// What the agent gets from `host:8080`.
fn call(bed: &Bed, host: &str) -> Option<String> {
    let script =
        format!("exec 3<>/dev/tcp/{host}/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3");
    let agent = agent(bed);
    let (out, _, ok) =
        bed.try_kubectl("solo", &["exec", &agent, "--", "timeout", "5", "bash", "-c", &script]);
    ok.then(|| out.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn pods_of_sets_have_names_in_dns_roll_and_are_rolled_back() {
    let bed = workloads();
    let names =
        bed.kubectl("solo", &["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(names, "db-0 db-1");
    for name in ["db-0", "db-1"] {
        let answer = eventually(&format!("{name} to answer by its name"), Duration::from_secs(30), || {
            call(&bed, &format!("{name}.members.default.svc.cluster.local"))
        });
        assert_eq!(answer, format!("{name} one"));
    }
    bed.kubectl("solo", &["set", "env", "statefulset/db", "ANSWER=two"]);
    bed.kubectl("solo", &["rollout", "status", "statefulset/db", "--timeout=60s"]);
    eventually("the new answer under the same name", Duration::from_secs(30), || {
        (call(&bed, "db-1.members")? == "db-1 two").then_some(())
    });
    bed.kubectl("solo", &["rollout", "undo", "statefulset/db"]);
    bed.kubectl("solo", &["rollout", "status", "statefulset/db", "--timeout=60s"]);
    eventually("the old answer again", Duration::from_secs(30), || {
        (call(&bed, "db-0.members")? == "db-0 one").then_some(())
    });
    let history = bed.kubectl("solo", &["rollout", "history", "statefulset/db"]);
    assert!(history.contains('3') && !history.contains("\n1 "), "{history}");
    bed.kubectl("solo", &["scale", "statefulset/db", "--replicas=1"]);
    eventually("the last pod to go", Duration::from_secs(40), || {
        let names = ["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].metadata.name}"];
        (bed.kubectl("solo", &names) == "db-0").then_some(())
    });

    let before = agent(&bed);
    bed.kubectl("solo", &["rollout", "restart", "daemonset/agent"]);
    bed.kubectl("solo", &["rollout", "status", "daemonset/agent", "--timeout=60s"]);
    eventually("another agent", Duration::from_secs(30), || (agent(&bed) != before).then_some(()));
    let node = bed.kubectl("solo", &["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let placed = ["get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[0].spec.nodeName}"];
    assert_eq!(bed.kubectl("solo", &placed), node);
    bed.kubectl("solo", &["delete", "statefulset/db", "daemonset/agent", "--timeout=60s"]);
    eventually("all pods to go", Duration::from_secs(40), || {
        bed.kubectl("solo", &["get", "pods", "-o", "name"]).is_empty().then_some(())
    });
}

/// A kubectl that speaks SPDY, as those before 1.31 do and later ones when they are told to.
fn spdy(bed: &Bed, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")
        .arg("--kubeconfig")
        .arg(bed.sandbox.kubeconfig())
        .args(["--context", "solo"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn kubectl_of_before_websockets_runs_commands_and_forwards_ports() {
    let bed = workloads();
    let agent = agent(&bed);
    let output =
        spdy(&bed, &["exec", &agent, "--", "bash", "-c", "echo out; echo err >&2; exit 7"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("err\n") && error.contains("exit code 7"), "{error}");
    assert_eq!(output.status.code(), Some(7));

    // More than any buffer on the way, in both directions at once.
    let mut child = spdy(&bed, &["exec", "-i", &agent, "--", "cat"]).spawn().unwrap();
    let sent: Vec<u8> = (0..8 << 20).map(|index: u32| (index / 7) as u8).collect();
    let (mut stdin, copy) = (child.stdin.take().unwrap(), sent.clone());
    let sending = std::thread::spawn(move || stdin.write_all(&copy).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == sent, "{} of {} bytes came back as they were", received.len(), sent.len());

    let refused = spdy(&bed, &["exec", &agent, "-c", "nobody", "--", "true"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nobody"), "{refused:?}");

    let mut forward = spdy(&bed, &["port-forward", "pod/db-0", ":8080", ":9999"]).spawn().unwrap();
    // Kept open: kubectl would die of a closed pipe.
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
    let ports: Vec<u16> = lines
        .by_ref()
        .map(Result::unwrap)
        .filter(|line| line.starts_with("Forwarding from 127.0.0.1"))
        .map(|line| line.split(' ').nth(2).unwrap().rsplit_once(':').unwrap().1.parse().unwrap())
        .take(2)
        .collect();
    let get = |port: u16| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for _ in 0..3 {
        assert!(get(ports[0]).contains("db-0 one"));
    }
    assert_eq!(get(ports[1]), "", "nobody listens there");
    forward.kill().unwrap();
    forward.wait().unwrap();
}
