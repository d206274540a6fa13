//! Pods of host executables behind Services, driven by a stock kubectl. Needs root, kubectl and perl.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test's helpers may panic

#[path = "support/bed.rs"]
mod bed;

use std::time::{Duration, Instant};

use bed::{Bed, eventually, up};

/// A web server that answers with its pod's name and the text in `$ANSWER`.
const SHOP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata:
      labels: { app: web }
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
          $| = 1; print "listening\n";
          $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 64, ReuseAddr => 1) or die;
          while ($c = $s->accept) { while (<$c>) { last unless /\S/ } print $c "HTTP/1.0 200 OK\r\n\r\n$ENV{NAME} $ENV{ANSWER}\n"; close $c; print "served\n" }
        env:
        - { name: NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
        - { name: ANSWER, value: one }
        ports: [{ name: http, containerPort: 8080 }]
        readinessProbe: { tcpSocket: { port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http }]
---
apiVersion: v1
kind: Service
metadata: { name: members }
spec:
  clusterIP: None
  selector: { app: web }
  ports: [{ name: http, port: 8080 }]
---
apiVersion: v1
kind: Pod
metadata:
  name: caller
  annotations: { sandbox.isthmus.dev/executable.main: /bin/bash }
spec:
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: host/bash, args: [-c, "echo up; sleep infinity & wait"] }]
"#;

fn shop() -> Bed {
    let bed = up(&["east", "west"]);
    bed.apply("east", SHOP);
    bed.kubectl("east", &["rollout", "status", "deployment/web", "--timeout=30s"]);
    bed.kubectl("east", &["wait", "--for=condition=Ready", "pod/caller", "--timeout=30s"]);
    // As on any cluster, a pod is ready before the nodes' rules lead to it.
    eventually("the service to lead to its pods", Duration::from_secs(30), || call(&bed, "web/80").ok());
    bed
}

/// What the pod `caller` gets from an address of this form, `host/port`, or what `kubectl` says of the failure.
fn call(bed: &Bed, address: &str) -> Result<String, String> {
    let script = format!("exec 3<>/dev/tcp/{address} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3");
    let (out, err, ok) =
        bed.try_kubectl("east", &["exec", "caller", "--", "timeout", "5", "bash", "-c", &script]);
    if ok { Ok(out.lines().last().unwrap_or_default().to_owned()) } else { Err(err) }
}

#[test]
fn a_deployment_answers_by_name_and_address_inside_and_between_clusters() {
    let bed = shop();
    let mut answering = std::collections::BTreeSet::new();
    eventually("both pods to have answered", Duration::from_secs(30), || {
        answering.insert(call(&bed, "web.default.svc.cluster.local/80").unwrap());
        (answering.len() == 2).then_some(())
    });
    assert!(
        answering.iter().all(|answer| answer.starts_with("web-") && answer.ends_with(" one")),
        "{answering:?}"
    );
    call(&bed, "web/80").expect("by short name");
    call(&bed, "members.default/8080").expect("headless");
    call(&bed, "nope.default.svc.cluster.local/80").unwrap_err();
    let address = bed
        .kubectl("east", &["get", "service", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"]);
    assert_eq!(address, "198.18.1.10");
    call(&bed, "198.18.1.10/80").expect("the own load balancer");
    let from_west = || {
        let script = "exec 3<>/dev/tcp/198.18.1.10/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
        bed.sandbox.exec("west", None, &["timeout", "2", "bash", "-c", script]).unwrap()
    };
    assert!(from_west().stdout.contains("web-"), "{:?}", from_west());
    let moved = bed.sandbox.release_address("east", "default", "web").unwrap();
    assert_eq!(moved.to_string(), "198.18.1.11");
    eventually("the new address", Duration::from_secs(30), || call(&bed, "198.18.1.11/80").ok());
    assert_ne!(from_west().code, Some(0), "the old address is gone");
    bed.kubectl("east", &["scale", "deployment/web", "--replicas=0"]);
    eventually("a refused connection without endpoints", Duration::from_secs(30), || {
        let began = Instant::now();
        (call(&bed, "web/80").is_err() && began.elapsed() < Duration::from_secs(2)).then_some(())
    });
}

#[test]
fn rollouts_logs_and_exec_work_with_a_stock_kubectl() {
    let bed = shop();
    assert!(bed.kubectl("east", &["logs", "deployment/web"]).contains("listening"));
    assert_eq!(bed.kubectl("east", &["logs", "caller", "--tail=1"]), "up\n");
    assert_eq!(bed.kubectl("east", &["exec", "caller", "--", "sh", "-c", "echo out; echo err >&2"]), "out\n");
    let (_, stderr, ok) = bed.try_kubectl("east", &["exec", "caller", "--", "sh", "-c", "exit 3"]);
    assert!(!ok && stderr.contains("exit code 3"), "{stderr}");
    bed.kubectl("east", &["set", "env", "deployment/web", "ANSWER=two"]);
    bed.kubectl("east", &["rollout", "status", "deployment/web", "--timeout=30s"]);
    eventually("the new pods to answer", Duration::from_secs(30), || {
        call(&bed, "web/80").ok().filter(|answer| answer.ends_with(" two"))
    });
    bed.kubectl("east", &["rollout", "undo", "deployment/web"]);
    bed.kubectl("east", &["rollout", "status", "deployment/web", "--timeout=30s"]);
    eventually("the new pods to answer", Duration::from_secs(30), || {
        call(&bed, "web/80").ok().filter(|answer| answer.ends_with(" one"))
    });
    let history = bed.kubectl("east", &["rollout", "history", "deployment/web"]);
    assert!(history.contains('3') && !history.contains("\n1 "), "{history}");
    bed.kubectl("east", &["rollout", "restart", "deployment/web"]);
    bed.kubectl("east", &["rollout", "status", "deployment/web", "--timeout=30s"]);
    bed.kubectl("east", &["delete", "deployment/web", "--timeout=30s"]);
    eventually("the pods to go", Duration::from_secs(40), || {
        bed.kubectl("east", &["get", "pods", "-l", "app=web", "-o", "name"]).is_empty().then_some(())
    });
}

#[test]
fn a_killed_container_restarts_and_a_capture_shows_its_traffic() {
    let bed = shop();
    let file = bed.state.path().join("caller.pcap");
    let capture = bed.sandbox.capture("east", "default", "caller", &file).unwrap();
    call(&bed, "web/80").unwrap();
    let (file, packets) = capture.end().unwrap();
    assert!(packets > 5, "{packets}");
    let bytes = std::fs::read(file).unwrap();
    assert!(bytes.windows(9).any(|window| window == b"GET / HTT"), "the plain request is in the capture");
    let pod =
        bed.kubectl("east", &["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"]);
    bed.sandbox.kill_container("east", "default", &pod, "main", 9).unwrap();
    eventually("a restart", Duration::from_secs(30), || {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        (bed.kubectl("east", &["get", "pod", &pod, "-o", path]) == "1").then_some(())
    });
    bed.kubectl("east", &["rollout", "status", "deployment/web", "--timeout=30s"]);
}

#[test]
fn port_forward_carries_several_connections_and_tells_refusals() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::process::{Command, Stdio};

    let bed = shop();
    let mut forward = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(bed.sandbox.kubeconfig())
        .args(["--context", "east", "port-forward", "deployment/web", ":8080", ":9999"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
    let mut port = |to: &str| -> u16 {
        let line = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.starts_with("Forwarding from 127.0.0.1"))
            .unwrap();
        let (address, target) = line.rsplit_once(" -> ").unwrap();
        assert_eq!(target, to);
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let (open, closed) = (port("8080"), port("9999"));
    let get = |port: u16| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let answers: Vec<String> =
        (0..3).map(|_| std::thread::spawn(move || get(open))).map(|thread| thread.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.contains("web-") && answer.contains(" one")), "{answers:?}");
    assert_eq!(get(closed), "");
    forward.kill().unwrap();
    forward.wait().unwrap();
}
