use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn no_exec() -> Exec {
    Arc::new(|_| Box::pin(async { Ok((0, String::new())) }))
}

fn http(port: &Value) -> Value {
    json!({
        "ports": [{ "name": "admin", "containerPort": 4191 }],
        "readinessProbe": { "httpGet": { "path": "/ready", "port": port }, "failureThreshold": 2 },
    })
}

#[test]
fn ports_may_be_named_and_defaults_are_kubernetes_own() {
    let probe = Probe::parse(&http(&json!("admin")), Kind::Readiness).unwrap();
    assert!(matches!(probe.check, Check::Http { port: 4191, .. }));
    assert_eq!((probe.period.as_secs(), probe.timeout.as_secs(), probe.failures), (10, 1, 2));
    assert_eq!(Probe::parse(&http(&json!("nope")), Kind::Readiness), None);
    assert_eq!(Probe::parse(&json!({}), Kind::Liveness), None);
}

#[test]
fn a_verdict_needs_a_row_of_results_and_is_told_once() {
    let probe = Probe::parse(&http(&json!(80)), Kind::Readiness).unwrap();
    let mut count = Count::default();
    let verdicts: Vec<_> =
        [true, true, false, true, false, false, false].map(|passed| count.record(passed, &probe)).into();
    assert_eq!(verdicts, [Some(true), None, None, None, None, Some(false), None]);
    let liveness = Probe { kind: Kind::Liveness, ..probe };
    let mut count = Count::default();
    let verdicts: Vec<_> = [false, false, false].map(|passed| count.record(passed, &liveness)).into();
    assert_eq!(verdicts, [None, Some(false), Some(false)]);
}

#[tokio::test]
async fn http_checks_tell_good_from_bad_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in ["204 No Content", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /ready HTTP/1.1\r\n"));
            stream
                .write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                .await
                .unwrap();
        }
    });
    let check = Probe::parse(&http(&json!(port)), Kind::Readiness).unwrap().check;
    assert_eq!(check.run(Ipv4Addr::LOCALHOST, &no_exec()).await, Ok(()));
    let failure = check.run(Ipv4Addr::LOCALHOST, &no_exec()).await.unwrap_err();
    assert_eq!(failure, "HTTP probe failed with statuscode: 503");
}

#[tokio::test]
async fn a_late_listener_is_seen_soon_after_it_listens() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let container = json!({ "readinessProbe": { "tcpSocket": { "port": address.port() } } });
    let (sender, mut reports) = mpsc::channel(1);
    let probe = Probe::parse(&container, Kind::Readiness).unwrap();
    tokio::spawn(probe.run(Ipv4Addr::LOCALHOST, no_exec(), sender));
    tokio::time::sleep(Duration::from_millis(30)).await;
    let _listener = TcpListener::bind(address).await.unwrap();
    let report = tokio::time::timeout(Duration::from_secs(2), reports.recv()).await.unwrap().unwrap();
    assert_eq!(report, Report { kind: Kind::Readiness, failure: None, verdict: Some(true) });
}

#[tokio::test]
async fn exec_checks_go_by_the_exit_code() {
    let exec: Exec =
        Arc::new(|command| Box::pin(async move { Ok((command.len() as i32 - 1, "no".to_owned())) }));
    let probe = |command: Value| {
        Probe::parse(&json!({ "livenessProbe": { "exec": { "command": command } } }), Kind::Liveness)
            .unwrap()
            .check
    };
    assert_eq!(probe(json!(["true"])).run(Ipv4Addr::LOCALHOST, &exec).await, Ok(()));
    let failure = probe(json!(["a", "b"])).run(Ipv4Addr::LOCALHOST, &exec).await.unwrap_err();
    assert_eq!(failure, "command exited with 1: no");
}
