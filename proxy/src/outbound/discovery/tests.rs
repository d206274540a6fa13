use super::*;
use crate::config::{ControlAddr, Env};
use crate::control::Dns;
use mesh_metrics::Registry;
use mesh_tls::{MeshTls, TrustBundle};

/// Discovery whose control plane does not answer.
pub(crate) fn unanswered() -> Discovery {
    let root = mesh_tls::Authority::new_root("root", Duration::from_secs(3600)).unwrap();
    let settings = [
        ("IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local".to_owned()),
        ("IDENTITY_TRUST_ANCHORS", root.cert_pem()),
        ("IDENTITY_TOKEN_FILE", "/token".to_owned()),
        ("IDENTITY_SVC_ADDR", "localhost:1".to_owned()),
        ("DESTINATION_SVC_ADDR", "localhost:1".to_owned()),
        ("POLICY_SVC_ADDR", "localhost:1".to_owned()),
        ("POLICY_WORKLOAD", "{}".to_owned()),
        ("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "20ms".to_owned()),
    ];
    let env: Env =
        settings.into_iter().map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), value)).collect();
    let config = Arc::new(Config::parse(&env).unwrap());
    let bundle = TrustBundle::from_pem(&root.cert_pem()).unwrap();
    let tls = MeshTls::new(config.identity.local.clone(), bundle).unwrap();
    let addr = Authority { host: "localhost".to_owned(), port: 1 };
    let dns = Arc::new(Dns::new(&Registry::new()));
    let channel = ControlChannel::new(ControlAddr { addr, identity: None }, tls, dns);
    Discovery::new(config, channel.clone(), channel, Handle::current())
}

pub(crate) fn backends() -> Backends {
    unanswered().0.backends.clone()
}

#[tokio::test(flavor = "local")]
async fn a_destination_is_shared_while_it_is_used_and_forgotten_after() {
    let discovery = unanswered();
    let target = || Target::Addr("10.43.0.9:80".parse().unwrap());
    let (first, second) = (discovery.target(target()), discovery.target(target()));
    assert!(first.same_channel(&second));
    drop(first);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(discovery.0.targets.lock().len(), 1, "still in use");
    drop(second);
    let forgotten = async {
        while !discovery.0.targets.lock().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), forgotten).await.expect("forgotten once nobody uses it");
}

#[tokio::test(flavor = "local")]
async fn backends_of_one_description_are_one() {
    use crate::outbound::endpoint::Setup;
    let backends = backends();
    let of = |path, setup| backends.discovered(path, &mesh_metrics::Labels::new(), setup);
    let web = of("web.shop:80", Setup::default());
    assert!(Arc::ptr_eq(&web, &of("web.shop:80", Setup::default())));
    assert!(!Arc::ptr_eq(&web, &of("db.shop:80", Setup::default())));
    let other = Setup { queue_capacity: 1, ..Setup::default() };
    assert!(!Arc::ptr_eq(&web, &of("web.shop:80", other)));
}
