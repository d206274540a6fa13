//! The rules at work, in network namespaces of their own: which connections end at the proxy's ports and which do not.
//! Needs root, nft, iproute2 and util-linux.

#![allow(clippy::unwrap_used, reason = "a test, also outside of its test functions")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const INIT: &str = env!("CARGO_BIN_EXE_isthmus-init");
/// Set in processes that this test starts from itself: `serve PORTS` or `ask ADDR`.
const ROLE: &str = "ISTHMUS_TEST_ROLE";
const POD: &str = "10.9.0.2";
const PEER: &str = "10.9.0.1";
const APPLICATION: &str = "1000";
const PROXY: &str = "2102";

/// What the processes started from this test do; an ordinary run passes through.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (verb, what) = role.split_once(' ').unwrap();
    match verb {
        "serve" => serve(what),
        "ask" => ask(what),
        other => panic!("no role {other}"),
    }
}

/// Listens on every port, on all addresses, and answers each connection with the port it came to.
fn serve(ports: &str) {
    for port in ports.split(',') {
        let port: u16 = port.parse().unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([0u16; 8], port))).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(format!("{port}").as_bytes());
            }
        });
    }
    println!("@ready");
    // Until the test is over.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn ask(addr: &str) {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&addr.parse().unwrap(), Duration::from_secs(3))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    println!("@{}", answer().unwrap_or_else(|e| format!("{:?}", e.kind())));
}

/// Two namespaces, one the pod's, joined by a cable; in both something listens on many ports.
struct Network {
    holders: [Child; 2],
    servers: Vec<Child>,
}

impl Network {
    fn new(ports: &str) -> Self {
        let hold = || {
            let mut child = Command::new("unshare")
                .args(["--net", "sh", "-c", "ip link set lo up && echo up && cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "up\n", "root is needed");
            child
        };
        let mut network = Self { holders: [hold(), hold()], servers: Vec::new() };
        let (pod, peer) = (network.holders[0].id(), network.holders[1].id());
        network.sh(0, &format!("ip link add eth0 type veth peer name eth0 netns {peer}"));
        for (side, addr, v6, gateway) in [(0, POD, "fd09::2", "fd09::1"), (1, PEER, "fd09::1", "fd09::2")] {
            network.sh(
                side,
                &format!(
                    "ip addr add {addr}/24 dev eth0 && ip addr add {v6}/64 dev eth0 nodad && ip link set eth0 up && \
                     ip route add default dev eth0 && ip -6 route add default via {gateway}"
                ),
            );
        }
        assert_ne!(pod, peer);
        for side in [0, 1] {
            let mut server = network.spawn(side, "0", &format!("serve {ports}"));
            let lines = BufReader::new(server.stdout.take().unwrap()).lines();
            assert!(lines.map_while(Result::ok).any(|l| l.ends_with("@ready")), "the server did not start");
            network.servers.push(server);
        }
        network
    }

    fn command(&self, side: usize, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holders[side].id())).args(program);
        command
    }

    fn sh(&self, side: usize, script: &str) {
        let status = self.command(side, &["sh", "-c", script]).status().unwrap();
        assert!(status.success(), "{script}");
    }

    fn spawn(&self, side: usize, uid: &str, role: &str) -> Child {
        let this = std::env::current_exe().unwrap();
        let this = this.to_str().unwrap();
        let mut command = self.command(
            side,
            &["setpriv", "--reuid", uid, "--clear-groups", this, "--exact", "role", "--nocapture"],
        );
        command.env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Where a connection from the pod by this user ends.
    fn out_of_pod(&self, uid: &str, addr: &str) -> String {
        answer(self.spawn(0, uid, &format!("ask {addr}")))
    }

    /// Where a connection from outside ends.
    fn pod_answers(&self, addr: &str) -> String {
        answer(self.spawn(1, "0", &format!("ask {addr}")))
    }

    fn init(&self, uid: &str, args: &[&str]) -> Output {
        let mut all = vec!["setpriv", "--reuid", uid, "--clear-groups", INIT];
        all.extend(args);
        self.command(0, &all).output().unwrap()
    }

    fn redirect(&self, args: &[&str]) {
        let all: Vec<&str> = ["redirect"].iter().chain(args).copied().collect();
        let output = self.init("0", &all);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().chain(&mut self.holders) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn answer(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|l| l.split_once('@').map(|(_, rest)| rest.to_owned()));
    line.unwrap_or_else(|| panic!("no answer in {text}"))
}

const PORTS: &str = "22,80,443,4140,4143,4191,8005";

#[test]
fn connections_go_to_the_proxy_except_its_own_loopback_and_ignored_ones() {
    let network = Network::new(PORTS);
    assert_eq!(network.pod_answers("10.9.0.2:80"), "80", "nothing is redirected before");
    network.redirect(&["--inbound-ports-to-ignore=4191,22", "--outbound-ports-to-ignore=443,8000-8010"]);
    // Inbound.
    assert_eq!(network.pod_answers("10.9.0.2:80"), "4143");
    assert_eq!(network.pod_answers("[fd09::2]:80"), "4143");
    assert_eq!(network.pod_answers("10.9.0.2:4143"), "4143");
    assert_eq!(network.pod_answers("10.9.0.2:4191"), "4191");
    assert_eq!(network.pod_answers("10.9.0.2:22"), "22");
    // Outbound.
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.1:80"), "4140");
    assert_eq!(network.out_of_pod("0", "10.9.0.1:80"), "4140");
    assert_eq!(network.out_of_pod(APPLICATION, "[fd09::1]:80"), "4140");
    assert_eq!(network.out_of_pod(PROXY, "10.9.0.1:80"), "80");
    assert_eq!(network.out_of_pod(PROXY, "[fd09::1]:80"), "80");
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.1:443"), "443");
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.1:8005"), "8005");
    // Loopback, by address of the loopback and of the pod itself.
    assert_eq!(network.out_of_pod(APPLICATION, "127.0.0.1:80"), "80");
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.2:80"), "80");
    // The same again, then with other options: the last word counts alone.
    network.redirect(&["--inbound-ports-to-ignore=80", "--ipv6=true"]);
    assert_eq!(network.pod_answers("10.9.0.2:80"), "80");
    assert_eq!(network.pod_answers("10.9.0.2:22"), "4143");
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.1:443"), "4140");
}

#[test]
fn only_listed_ports_and_no_ignored_subnets_are_redirected() {
    let network = Network::new(PORTS);
    network.redirect(&["--ports-to-redirect=80,8000-8010", "--ipv6=false"]);
    assert_eq!(network.pod_answers("10.9.0.2:80"), "4143");
    assert_eq!(network.pod_answers("10.9.0.2:8005"), "4143");
    assert_eq!(network.pod_answers("10.9.0.2:22"), "22");
    assert_eq!(network.pod_answers("[fd09::2]:80"), "80");
    network.redirect(&["--subnets-to-ignore=192.168.0.0/16,10.9.0.0/24"]);
    assert_eq!(network.pod_answers("10.9.0.2:80"), "80");
    assert_eq!(network.out_of_pod(APPLICATION, "10.9.0.1:80"), "4140");
}

#[test]
fn the_validator_tells_a_redirected_pod_from_one_that_is_not() {
    // Nothing else may listen on the proxy's port here.
    let network = Network::new("80");
    let before = network.init("65534", &["validate", "--timeout=1s"]);
    assert_eq!(before.status.code(), Some(95));
    let message = String::from_utf8(before.stderr).unwrap();
    assert!(message.contains("1.1.1.1:20001") && message.contains("the rules are missing"), "{message}");
    network.redirect(&[]);
    let after = network.init("65534", &["validate", "--timeout=5s", "--ipv6"]);
    assert!(after.status.success(), "{}", String::from_utf8_lossy(&after.stderr));
}

#[test]
fn without_the_capability_the_failure_says_so() {
    let network = Network::new("80");
    let output = network.init("65534", &["redirect"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NET_ADMIN"));
}
