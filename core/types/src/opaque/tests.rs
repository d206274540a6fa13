use super::*;

#[test]
fn ports_are_opaque_by_number_range_or_name() {
    let opaque = OpaquePorts::parse("25, 3000-3010,mysql,");
    assert!(
        opaque.contains(25, None) && opaque.contains(3005, Some("web")) && opaque.contains(9, Some("mysql"))
    );
    assert!(!opaque.contains(26, Some("web")));
}

#[test]
fn an_unknown_app_protocol_is_opaque() {
    assert_eq!(AppProtocol::parse("http"), AppProtocol::Http1);
    assert_eq!(AppProtocol::parse("kubernetes.io/h2c"), AppProtocol::Http2);
    assert_eq!(AppProtocol::parse("redis"), AppProtocol::Opaque);
}
