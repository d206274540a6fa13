use super::*;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const HOST: &str = "linkerd-policy.linkerd.svc.cluster.local";
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7));

/// What a name server does with a question of that kind; `None` is nothing.
type Script = fn(RecordType, Message) -> Option<Message>;

/// Answers on UDP and TCP of one address of loopback, for as long as the test runs.
async fn server(ip: [u8; 4], port: u16, script: Script) -> u16 {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::from(ip), port)).await.unwrap();
        match TcpListener::bind(udp.local_addr().unwrap()).await {
            Ok(tcp) => break (udp, tcp),
            // Any port will do that is free for both.
            Err(error) => assert_eq!(port, 0, "{error}"),
        }
    };
    let addr = udp.local_addr().unwrap();
    let reply = move |bytes: &[u8], by_udp: bool| {
        let question = Message::from_vec(bytes).unwrap();
        assert!(question.metadata.recursion_desired);
        assert_eq!(question.queries[0].name.to_ascii(), format!("{HOST}."));
        let mut answer = script(question.queries[0].query_type, question.into_response())?;
        if by_udp && answer.answers.len() > 8 {
            answer = answer.truncate();
        }
        Some(answer.to_vec().unwrap())
    };
    tokio::spawn(async move {
        let mut buf = [0; 512];
        loop {
            tokio::select! {
                received = udp.recv_from(&mut buf) => {
                    let (n, from) = received.unwrap();
                    if let Some(answer) = reply(&buf[..n], true) {
                        udp.send_to(&answer, from).await.unwrap();
                    }
                }
                accepted = tcp.accept() => {
                    let mut tcp = accepted.unwrap().0;
                    let mut question = vec![0; tcp.read_u16().await.unwrap().into()];
                    tcp.read_exact(&mut question).await.unwrap();
                    let answer = reply(&question, false).unwrap();
                    tcp.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    tcp.write_all(&answer).await.unwrap();
                }
            }
        }
    });
    addr.port()
}

fn with(mut answer: Message, ips: impl IntoIterator<Item = IpAddr>) -> Message {
    for ip in ips {
        let data = match ip {
            IpAddr::V4(ip) => RData::A(ip.into()),
            IpAddr::V6(ip) => RData::AAAA(ip.into()),
        };
        let name = answer.queries[0].name.clone();
        answer.add_answer(Record::from_rdata(name, 5, data));
    }
    answer
}

fn saying(mut answer: Message, code: ResponseCode) -> Message {
    answer.metadata.response_code = code;
    answer
}

/// Has both addresses.
fn knows(kind: RecordType, answer: Message) -> Option<Message> {
    Some(with(answer, [if kind == RecordType::A { V4 } else { V6 }]))
}

struct Pod {
    dns: Dns,
    registry: Registry,
    _dir: tempfile::TempDir,
}

fn pod(port: u16, hosts: &str, resolv_conf: &str) -> Pod {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let files = Files { hosts: file("hosts", hosts), resolv_conf: file("resolv.conf", resolv_conf) };
    let registry = Registry::new();
    Pod { dns: Dns { files, port, ..Dns::new(&registry) }, registry, _dir: dir }
}

impl Pod {
    /// The addresses in order, and what was counted.
    async fn resolve(&self, host: &str) -> (Result<Vec<IpAddr>, String>, String) {
        let found = self.dns.resolve(&Authority { host: host.to_owned(), port: 8090 }).await;
        let found = found.map_err(|error| error.to_string()).map(|addrs| {
            assert!(addrs.iter().all(|addr| addr.port() == 8090));
            let mut ips: Vec<_> = addrs.iter().map(SocketAddr::ip).collect();
            ips.sort();
            ips
        });
        let text = self.registry.encode();
        let counted = text.lines().find(|line| line.starts_with("control_dns_resolutions_total{"));
        (found, counted.unwrap_or_default().to_owned())
    }
}

fn counted(result: &str) -> String {
    format!("control_dns_resolutions_total{{record=\"A\",result=\"{result}\"}} 1")
}

#[tokio::test]
async fn a_service_has_the_addresses_of_both_families() {
    let port = server([127, 0, 0, 1], 0, knows).await;
    let pod = pod(port, "", "search shop.svc.cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n");
    assert_eq!(pod.resolve(HOST).await, (Ok(vec![V4, V6]), counted("ok")));
}

#[tokio::test]
async fn one_family_is_enough_though_the_other_is_not_answered() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let port = server([127, 0, 0, 1], 0, |kind, answer| {
        if kind == RecordType::A {
            return knows(kind, answer);
        }
        ASKED.fetch_add(1, Ordering::Relaxed);
        None
    })
    .await;
    let pod = pod(port, "", "nameserver 127.0.0.1\n");
    assert_eq!(pod.resolve(HOST).await.0, Ok(vec![V4]));
    assert!(ASKED.load(Ordering::Relaxed) < server::PATIENCE.len(), "it was waited for to the end");
}

#[tokio::test]
async fn a_name_that_is_unknown_is_told_from_a_server_that_fails() {
    let port = server([127, 0, 0, 1], 0, |_, answer| Some(saying(answer, ResponseCode::NXDomain))).await;
    let (found, count) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(found, Err(format!("DNS: {HOST}: there is no such name, or it has no addresses")));
    assert_eq!(count, counted("not_found"));
    let port = server([127, 0, 0, 1], 0, |_, answer| Some(answer)).await;
    let (_, count) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(count, counted("not_found"), "a name without addresses");
    let port = server([127, 0, 0, 1], 0, |_, answer| Some(saying(answer, ResponseCode::ServFail))).await;
    let (found, count) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(found, Err(format!("DNS: {HOST}: 127.0.0.1:{port}: Server Failure")));
    assert_eq!(count, counted("fail"));
}

#[tokio::test]
async fn a_server_that_is_silent_or_knows_nothing_does_not_hide_one_that_knows() {
    let port = server([127, 0, 0, 1], 0, knows).await;
    server([127, 0, 0, 2], port, |_, _| None).await;
    server([127, 0, 0, 3], port, |_, answer| Some(saying(answer, ResponseCode::NXDomain))).await;
    let resolv_conf = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.1\n";
    assert_eq!(pod(port, "", resolv_conf).resolve(HOST).await, (Ok(vec![V4, V6]), counted("ok")));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let port = server([127, 0, 0, 1], 0, |_, _| None).await;
    let (found, count) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(found, Err(format!("DNS: {HOST}: 127.0.0.1:{port}: no answer")));
    assert_eq!(count, counted("fail"));
}

#[tokio::test]
async fn a_long_answer_comes_by_tcp() {
    let many = || (1..=100).map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
    let port = server([127, 0, 0, 1], 0, |kind, answer| {
        let many = (1..=100).map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
        Some(if kind == RecordType::A { with(answer, many) } else { answer })
    })
    .await;
    let (found, _) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(found, Ok(many().collect()));
}

#[tokio::test]
async fn some_addresses_are_enough_where_tcp_is_not_answered() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = udp.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buf = [0; 512];
        loop {
            let (n, from) = udp.recv_from(&mut buf).await.unwrap();
            let question = Message::from_vec(&buf[..n]).unwrap();
            let kind = question.queries[0].query_type;
            let mut answer = knows(kind, question.into_response()).unwrap();
            answer.metadata.truncation = true;
            udp.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    });
    let (found, _) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
    assert_eq!(found, Ok(vec![V4, V6]));
}

#[tokio::test]
async fn what_answers_another_question_is_not_believed() {
    let scripts: [Script; 2] = [
        |kind, answer| {
            let mut other = knows(kind, answer)?;
            other.metadata.id = other.metadata.id.wrapping_add(1);
            Some(other)
        },
        |kind, answer| {
            let mut other = knows(kind, answer)?;
            other.queries[0].name = Name::from_ascii("elsewhere.").unwrap();
            Some(other)
        },
    ];
    for script in scripts {
        let port = server([127, 0, 0, 1], 0, script).await;
        let (found, _) = pod(port, "", "nameserver 127.0.0.1\n").resolve(HOST).await;
        assert!(found.unwrap_err().ends_with("no answer"));
    }
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let hosts =
        format!("127.0.0.1 localhost\n10.9.9.9\tother {} # {HOST}\nfd00::7 {HOST}\n", HOST.to_uppercase());
    let pod = pod(1, &hosts, "nameserver 127.0.0.1\n");
    assert_eq!(
        pod.resolve(HOST).await,
        (Ok(vec![IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), V6]), counted("ok"))
    );
}

#[tokio::test]
async fn a_pod_without_name_servers_says_which_file_lacks_them() {
    let pod = pod(1, "", "search local\n");
    let error = pod.resolve(HOST).await.0.unwrap_err();
    assert!(error.ends_with("resolv.conf names no server"), "{error}");
    std::fs::remove_file(&pod.dns.files.resolv_conf).unwrap();
    let error = pod.resolve(HOST).await.0.unwrap_err();
    assert!(error.contains("resolv.conf: No such file"), "{error}");
}
