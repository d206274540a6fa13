use super::*;

fn complete() -> Env {
    [
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local"),
        (
            "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
            "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
        ),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        (
            "LINKERD2_PROXY_IDENTITY_SVC_NAME",
            "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "localhost.:8086"),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", "localhost.:8090"),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"shop\",\"pod\":\"web\"}"),
    ]
    .into_iter()
    .collect()
}

#[test]
fn the_injectors_environment_is_enough() {
    let config = Config::parse(&complete()).unwrap();
    assert_eq!(config.cores, 1);
    assert_eq!(config.inbound.listen, "[::]:4143".parse().unwrap());
    assert_eq!(config.outbound.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.detect_timeout, Duration::from_secs(10));
    assert_eq!(config.policy.instance(), "web");
    assert!(config.gateway.is_none());
    assert!(config.identity.service.identity.is_some());
    assert!(config.destination.service.identity.is_none(), "loopback is plaintext");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let mut env = complete();
    env.set("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "nowhere");
    env.set("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "soon");
    env.set("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "maybe");
    env.set("LINKERD2_PROXY_POLICY_SVC_ADDR", "linkerd-policy");
    let ConfigErrors(errors) = Config::parse(&env).unwrap_err();
    let named: Vec<_> = errors.iter().map(|e| e.variable.trim_start_matches("LINKERD2_PROXY_")).collect();
    assert_eq!(
        named,
        ["INBOUND_LISTEN_ADDR", "INBOUND_CONNECT_TIMEOUT", "INBOUND_DEFAULT_POLICY", "POLICY_SVC_ADDR"]
    );
}

#[test]
fn an_empty_environment_names_what_must_be_set() {
    let error = Config::parse(&Env::default()).unwrap_err().to_string();
    assert!(error.contains("LINKERD2_PROXY_IDENTITY_LOCAL_NAME: must be set"), "{error}");
}

#[test]
fn gateway_mode_follows_the_suffixes() {
    let mut env = complete();
    env.set("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.");
    env.set("ISTHMUS_GATEWAY_PROBE_LISTEN_ADDR", "[::]:4192");
    let gateway = Config::parse(&env).unwrap().gateway.unwrap();
    assert_eq!(gateway.suffixes, ["svc.cluster.local"]);
    assert_eq!(gateway.probe_listen.unwrap().port(), 4192);
}

#[test]
fn credentials_are_not_shown() {
    let mut env = complete();
    env.set("LINKERD2_PROXY_SPECIAL_TOKEN", "hunter2");
    let shown = redacted(&env);
    assert_eq!(shown["LINKERD2_PROXY_SPECIAL_TOKEN"], "(redacted)");
    assert!(shown["LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"].starts_with("(PEM"));
    assert!(shown["LINKERD2_PROXY_IDENTITY_TOKEN_FILE"].starts_with("/var"));
}

#[test]
fn the_gateway_of_our_own_cluster_and_trust_domain_is_trusted_unless_others_are_named() {
    let gateway = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
    let gateways = |env: &Env| Config::parse(env).unwrap().inbound.gateways;
    let mut env = complete();
    env.set("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(gateways(&env), [gateway.parse().unwrap()]);
    let other = "gate.edge.serviceaccount.identity.linkerd.cluster.local";
    env.set("ISTHMUS_INBOUND_GATEWAY_IDENTITIES", other);
    assert_eq!(gateways(&env), [other.parse().unwrap()]);
    env.set("ISTHMUS_INBOUND_GATEWAY_IDENTITIES", "not a name");
    assert!(Config::parse(&env).unwrap_err().to_string().contains("ISTHMUS_INBOUND_GATEWAY_IDENTITIES"));
}

#[test]
fn windows_fill_long_paths_unless_they_are_named_for_both_sides_or_for_one() {
    let windows = |env: &Env| {
        let config = Config::parse(env).unwrap();
        [config.inbound.http, config.outbound.http].map(|h| (h.h2_stream_window, h.h2_connection_window))
    };
    let mut env = complete();
    assert_eq!(windows(&env), [(4 << 20, 32 << 20); 2]);
    env.set("LINKERD2_PROXY_HTTP2_INITIAL_STREAM_WINDOW_SIZE", "65535");
    env.set("LINKERD2_PROXY_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", "1048576");
    assert_eq!(windows(&env), [(65_535, 1 << 20); 2]);
    env.set("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE", "100000");
    assert_eq!(windows(&env), [(100_000, 1 << 20), (65_535, 1 << 20)]);
    env.set("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE", "2147483648");
    let error = Config::parse(&env).unwrap_err().to_string();
    assert!(error.contains("OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE"), "{error}");
}
