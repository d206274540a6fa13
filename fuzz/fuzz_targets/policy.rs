//! What a control plane says, as the types the proxy works with: an inbound server, and the parts of an outbound
//! policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_api::outbound::{OutboundPolicy, proxy_protocol::Kind};
use mesh_api::prost::Message;
use mesh_proxy::{inbound, rules};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(server) = mesh_api::inbound::Server::decode(bytes) {
        let _ = inbound::policy::server_policy(server);
    }
    let Some(kind) = OutboundPolicy::decode(bytes).ok().and_then(|p| p.protocol).and_then(|p| p.kind) else {
        return;
    };
    let (http, grpc) = match kind {
        Kind::Detect(detect) => {
            let http1 = detect.http1.map(|http| http.routes).unwrap_or_default();
            let http2 = detect.http2.map(|http| http.routes).unwrap_or_default();
            ([http1, http2].concat(), Vec::new())
        }
        Kind::Http1(http) => (http.routes, Vec::new()),
        Kind::Http2(http) => (http.routes, Vec::new()),
        Kind::Grpc(grpc) => (Vec::new(), grpc.routes),
        Kind::Tls(tls) => {
            let snis = tls.routes.into_iter().flat_map(|route| route.snis);
            return snis.for_each(|sni| drop(rules::sni_match(sni)));
        }
        Kind::Opaque(_) => return,
    };
    for route in http {
        route.hosts.into_iter().for_each(|host| drop(rules::host_match(host)));
        for rule in route.rules {
            rule.matches.into_iter().for_each(|m| drop(rules::http_match(m)));
            rule.filters.into_iter().filter_map(|f| f.kind).for_each(http_filter);
        }
    }
    for rule in grpc.into_iter().flat_map(|route| route.rules) {
        rule.matches.into_iter().for_each(|m| drop(rules::grpc_match(m)));
    }
});

fn http_filter(kind: mesh_api::outbound::http_route::filter::Kind) {
    use mesh_api::outbound::http_route::filter::Kind;
    match kind {
        Kind::FailureInjector(failure) => drop(rules::http_failure(failure)),
        Kind::RequestHeaderModifier(edit) => drop(rules::request_headers(edit)),
        Kind::ResponseHeaderModifier(edit) => drop(rules::response_headers(edit)),
        Kind::Redirect(redirect) => drop(rules::redirect(redirect)),
    }
}
