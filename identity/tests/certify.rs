//! The room as proxies see it: a gRPC server over the API server of a test cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context as _, Result};
use mesh_api::identity::CertifyRequest;
use mesh_api::identity::identity_client::IdentityClient;
use mesh_api::tonic::transport::Channel;
use mesh_api::tonic::{Code, Status};
use mesh_api::trust::Held;
use mesh_api::trust::trust_client::TrustClient;
use mesh_identity::{Config, ISSUER_SECRET, Scheme, TRUST_ROOTS, run};
use mesh_metrics::Registry;
use mesh_runtime::Shutdown;
use mesh_runtime::admin::AdminState;
use mesh_testkit::{Cluster, Selection, eventually};
use mesh_tls::{Authority, TrustBundle, certificate_info, generate_csr};
use mesh_types::IDENTITY_AUDIENCE;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

struct Room {
    cluster: Cluster,
    client: IdentityClient<Channel>,
    admin: AdminState,
    metrics: Registry,
    root: Authority,
    trust: TrustClient<Channel>,
}

impl Room {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        for name in ["linkerd", "shop"] {
            cluster.namespace(name).await?;
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "shop"}});
        cluster.create(account).await?;
        let connection =
            mesh_kube::Connection { kubeconfig: Some(cluster.kubeconfig_path()), ..Default::default() };
        let kube = mesh_kube::connect(&connection).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let config = Config {
            controller_namespace: "linkerd".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            issuance_lifetime: Duration::from_secs(24 * 3600),
            clock_skew_allowance: Duration::from_secs(20),
            scheme: Scheme::Linkerd,
        };
        let admin = AdminState::new(Arc::new(String::new), None);
        let metrics = Registry::new();
        let (state, registry) = (admin.clone(), metrics.clone());
        tokio::spawn(async move {
            run(config, kube, listener, &registry, state, Shutdown::new()).await.expect("serves");
        });
        let root = Authority::new_root("root.linkerd.cluster.local", YEAR)?;
        let trust = TrustClient::new(Channel::from_shared(url.clone())?.connect().await?);
        Ok(Self { cluster, client: IdentityClient::connect(url).await?, admin, metrics, root, trust })
    }

    async fn anchors(&self, pem: &str) -> Result<()> {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRUST_ROOTS, "namespace": "linkerd"},
            "data": {"ca-bundle.crt": pem}
        });
        self.cluster.apply(map).await?;
        Ok(())
    }

    async fn issuer(&self, root: &Authority, cn: &str) -> Result<()> {
        let issuer = root.issue_authority(cn, YEAR)?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": ISSUER_SECRET, "namespace": "linkerd"},
            "stringData": {"crt.pem": issuer.chain_pem(), "key.pem": issuer.key_pem()}
        });
        self.cluster.apply(secret).await?;
        Ok(())
    }

    /// A room that signs.
    async fn ready() -> Result<Self> {
        let room = Self::start().await?;
        room.anchors(&room.root.cert_pem()).await?;
        room.issuer(&room.root, "first").await?;
        eventually("an issuer", || async { room.admin.is_ready().then_some(()) }).await?;
        Ok(room)
    }

    async fn certify(&self, name: &str, token: &str, csr: Vec<u8>) -> Result<String, Status> {
        let request = CertifyRequest {
            identity: name.to_owned(),
            token: token.as_bytes().to_vec(),
            certificate_signing_request: csr,
        };
        let answer = self.client.clone().certify(request).await?.into_inner();
        let info = certificate_info(&answer.leaf_certificate).expect("a certificate");
        assert_eq!(info.dns_names, [name]);
        Ok(info.issuer)
    }

    async fn as_web(&self) -> Result<String, Status> {
        let token = self.cluster.token("shop", "web", IDENTITY_AUDIENCE).expect("a token");
        self.certify(WEB, &token, csr(WEB)).await
    }

    async fn events(&self, reason: &str) -> Result<()> {
        let selection = Selection::namespace("linkerd");
        let found = || async {
            let (events, _) = self.cluster.client().list("events", &selection).ok()?;
            events.iter().any(|e| e["reason"] == reason).then_some(())
        };
        eventually(&format!("event {reason}"), found).await
    }
}

fn csr(name: &str) -> Vec<u8> {
    generate_csr(&name.parse().expect("an identity")).expect("a request").1
}

fn code(answer: Result<String, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn a_workload_gets_a_certificate_for_the_name_its_token_proves() -> Result<()> {
    let room = Room::ready().await?;
    assert_eq!(room.as_web().await?, "first");
    let text = room.metrics.encode();
    let ttl = text.lines().find_map(|l| l.strip_prefix("issuer_cert_ttl_seconds ")).context("the metric")?;
    assert!(ttl.parse::<f64>()? > YEAR.as_secs_f64() / 2.0, "{ttl}");
    assert!(text.contains(r#"identity_certify_requests_total{code="Ok"} 1"#), "{text}");
    Ok(())
}

#[tokio::test]
async fn requests_are_refused_by_what_is_wrong_with_them() -> Result<()> {
    let room = Room::ready().await?;
    let token = room.cluster.token("shop", "web", IDENTITY_AUDIENCE)?;
    let other = "api.shop.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(code(room.certify("Web!", &token, csr(WEB)).await), Code::InvalidArgument);
    assert_eq!(code(room.certify(WEB, "", csr(WEB)).await), Code::InvalidArgument);
    assert_eq!(code(room.certify(WEB, &token, b"nonsense".to_vec()).await), Code::InvalidArgument);
    assert_eq!(code(room.certify(WEB, &token, csr(other)).await), Code::FailedPrecondition);
    assert_eq!(code(room.certify(other, &token, csr(other)).await), Code::FailedPrecondition);
    assert_eq!(code(room.certify(WEB, "nonsense", csr(WEB)).await), Code::FailedPrecondition);
    let foreign = room.cluster.token("shop", "web", "")?;
    assert_eq!(
        code(room.certify(WEB, &foreign, csr(WEB)).await),
        Code::FailedPrecondition,
        "another audience"
    );
    Ok(())
}

#[tokio::test]
async fn without_an_issuer_the_answer_is_unavailable_and_the_room_not_ready() -> Result<()> {
    let room = Room::start().await?;
    assert_eq!(code(room.as_web().await), Code::Unavailable);
    assert!(!room.admin.is_ready());
    Ok(())
}

#[tokio::test]
async fn a_new_issuer_signs_at_once_and_an_invalid_one_changes_nothing() -> Result<()> {
    let room = Room::ready().await?;
    room.issuer(&room.root, "second").await?;
    eventually("the second issuer", || async {
        room.as_web().await.is_ok_and(|i| i == "second").then_some(())
    })
    .await?;
    room.events("IssuerUpdated").await?;
    let stranger = Authority::new_root("stranger", YEAR)?;
    room.issuer(&stranger, "third").await?;
    room.events("IssuerUpdateSkipped").await?;
    assert_eq!(room.as_web().await?, "second");
    // Once the anchors cover it, the refused issuer is taken.
    room.anchors(&(room.root.cert_pem() + &stranger.cert_pem())).await?;
    eventually("the third issuer", || async {
        room.as_web().await.is_ok_and(|i| i == "third").then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_issuer_written_by_cert_manager_is_read() -> Result<()> {
    let room = Room::start().await?;
    room.anchors(&room.root.cert_pem()).await?;
    let issuer = room.root.issue_authority("managed", YEAR)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": ISSUER_SECRET, "namespace": "linkerd"},
        "stringData": {"tls.crt": issuer.chain_pem(), "tls.key": issuer.key_pem(), "ca.crt": room.root.cert_pem()}
    });
    room.cluster.apply(secret).await?;
    eventually("the issuer", || async { room.as_web().await.is_ok_and(|i| i == "managed").then_some(()) })
        .await
}

#[tokio::test]
async fn a_proxy_is_sent_the_anchors_it_does_not_hold_and_is_counted() -> Result<()> {
    let room = Room::ready().await?;
    let held = |sha256: &str| Held {
        identity: WEB.to_owned(),
        instance: "web-1".to_owned(),
        sha256: sha256.to_owned(),
    };
    let (say, said) = tokio::sync::mpsc::channel(4);
    let said = futures::stream::unfold(said, |mut said| async { said.recv().await.map(|held| (held, said)) });
    say.send(held("")).await?;
    let mut bundles = room.trust.clone().watch(said).await?.into_inner();
    let first = bundles.message().await?.context("a bundle")?;
    let bundle = TrustBundle::from_pem(&first.pem)?;
    assert_eq!((bundle.sha256(), bundle.certs().len()), (first.sha256.as_str(), 1));
    say.send(held(&first.sha256)).await?;
    let counted =
        |what: &str| room.metrics.encode().contains(&format!("identity_trust_bundle_holders_{what} 1"));
    eventually("the holder to be counted", || async { counted("current").then_some(()) }).await?;

    // Anchors that would cut everybody off are kept back; those that add one are sent.
    let other = Authority::new_root("other", YEAR)?;
    room.anchors(&other.cert_pem()).await?;
    room.events("IssuerValidationFailed").await?;
    assert!(counted("current"));
    room.anchors(&(other.cert_pem() + &room.root.cert_pem())).await?;
    let second =
        tokio::time::timeout(Duration::from_secs(20), bundles.message()).await??.context("a bundle")?;
    assert_eq!(TrustBundle::from_pem(&second.pem)?.certs().len(), 2);
    assert!(counted("stale"));
    drop(say);
    assert!(bundles.message().await?.is_none());
    eventually("the holder to be gone", || async { (!counted("stale")).then_some(()) }).await
}
