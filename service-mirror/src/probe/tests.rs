use super::*;
use crate::model::{Key, Selector};
use mesh_tls::{Authority, PemPair, server_acceptor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const DAY: Duration = Duration::from_secs(86_400);
const GATEWAY: &str = "gateway.multi.serviceaccount.identity.linkerd.cluster.local";

fn failure() -> ProbeError {
    ProbeError::Connect { addr: "127.0.0.1:1".parse().unwrap(), reason: "refuses connections".into() }
}

#[test]
fn a_gateway_dead_from_the_start_is_dead_at_the_first_probe() {
    let mut state = ProbeState::default();
    state.note(Err(failure()), 3);
    assert_eq!(state.alive, Some(false));
}

#[test]
fn a_living_gateway_dies_after_the_threshold_and_returns_at_once() {
    let mut state = ProbeState::default();
    state.note(Ok(Duration::from_millis(1)), 3);
    state.note(Err(failure()), 3);
    state.note(Err(failure()), 3);
    assert_eq!(state.alive, Some(true));
    state.note(Err(failure()), 3);
    assert_eq!(state.alive, Some(false));
    state.note(Ok(Duration::from_millis(1)), 3);
    assert_eq!((state.alive, state.last_error), (Some(true), None));
}

#[test]
fn round_trips_are_smoothed() {
    let mut state = ProbeState::default();
    state.note(Ok(Duration::from_millis(10)), 3);
    state.note(Ok(Duration::from_millis(20)), 3);
    assert_eq!(state.rtt, Some(Duration::from_millis(12)));
}

#[test]
fn quantiles_are_those_of_the_recent_probes() {
    let mut state = ProbeState::default();
    assert_eq!(state.quantile(0.5), None);
    for ms in 1..=200 {
        state.note(Ok(Duration::from_millis(ms)), 3);
    }
    let ms = |share| state.quantile(share).unwrap().as_millis();
    assert_eq!((ms(0.5), ms(0.99), ms(1.0)), (150, 199, 200), "of 101 to 200");
    let mut state = ProbeState::default();
    state.note(Ok(Duration::from_millis(7)), 3);
    assert_eq!(state.quantile(0.01), state.quantile(0.99));
}

#[test]
fn a_living_address_is_in_doubt_from_its_first_failure() {
    let mut state = ProbeState::default();
    state.note(Err(failure()), 3);
    assert!(!state.in_doubt(), "it is dead");
    state.note(Ok(Duration::from_millis(1)), 3);
    assert!(!state.in_doubt());
    state.note(Err(failure()), 3);
    assert!(state.in_doubt());
}

fn link(probe_port: u16) -> LinkConfig {
    LinkConfig {
        key: Key::new("linkerd-multicluster", "west"),
        cluster: "west".parse().unwrap(),
        target_domain: "cluster.local".into(),
        gateway_identity: GATEWAY.into(),
        exported: Selector::default(),
        federated: Selector::default(),
        excluded_annotations: vec![],
        excluded_labels: vec![],
        probe_period: Duration::from_secs(1),
        probe_timeout: Duration::from_secs(5),
        probe_failures: 3,
        probe_path: "/ready".into(),
        probe_port,
    }
}

async fn tls_server(pair: &PemPair) -> u16 {
    let acceptor = server_acceptor(pair, None, &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(acceptor.accept(stream).await);
    }));
    port
}

async fn http_server(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        let n = stream.read(&mut seen).await.unwrap();
        assert!(seen[..n].starts_with(b"GET /ready HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }));
    port
}

#[tokio::test]
async fn probe_needs_the_right_identity_and_readiness() {
    let ca = Authority::new_root("root", DAY).unwrap();
    let bundle = TrustBundle::from_pem(&ca.cert_pem()).unwrap();
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let good = ca.issue_server(&[GATEWAY], &[], DAY).unwrap();

    let (gateway, ready) = (tls_server(&good).await, http_server("200 OK").await);
    probe(ip, gateway, &link(ready), &bundle).await.unwrap();

    let (gateway, ready) = (tls_server(&good).await, http_server("503 Service Unavailable").await);
    let error = probe(ip, gateway, &link(ready), &bundle).await.unwrap_err();
    assert!(matches!(error, ProbeError::NotReady { .. }), "{error}");

    let stranger = Authority::new_root("root", DAY).unwrap().issue_server(&[GATEWAY], &[], DAY).unwrap();
    let (gateway, ready) = (tls_server(&stranger).await, http_server("200 OK").await);
    let error = probe(ip, gateway, &link(ready), &bundle).await.unwrap_err();
    assert!(matches!(error, ProbeError::Trust { .. }), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = probe(ip, closed, &link(closed), &bundle).await.unwrap_err();
    assert!(error.to_string().contains("refuses connections"), "{error}");
}
