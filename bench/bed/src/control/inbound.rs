//! What the policy service says of a server's ports: everybody may come.

use super::OPAQUE;
use mesh_api::inbound::{self as api, Server, authn, proxy_protocol};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn server(port: u32) -> Server {
    let opaque = u16::try_from(port).is_ok_and(|port| OPAQUE.contains(&port));
    let kind = if opaque {
        proxy_protocol::Kind::Opaque(proxy_protocol::Opaque {})
    } else {
        proxy_protocol::Kind::Detect(proxy_protocol::Detect {
            timeout: DETECT_TIMEOUT.try_into().ok(),
            http_routes: vec![all_http()],
            http_local_rate_limit: None,
        })
    };
    Server {
        protocol: Some(api::ProxyProtocol { kind: Some(kind) }),
        server_ips: Vec::new(),
        authorizations: vec![anyone()],
        labels: labels("all-unauthenticated"),
    }
}

fn all_http() -> api::HttpRoute {
    let rule = api::http_route::Rule {
        matches: vec![mesh_api::http_route::HttpRouteMatch {
            path: Some(mesh_api::http_route::PathMatch {
                kind: Some(mesh_api::http_route::path_match::Kind::Prefix("/".to_owned())),
            }),
            ..Default::default()
        }],
        filters: Vec::new(),
    };
    api::HttpRoute {
        metadata: Some(super::outbound::named("default")),
        hosts: Vec::new(),
        authorizations: vec![anyone()],
        rules: vec![rule],
    }
}

fn anyone() -> api::Authz {
    let net = |ip: IpAddr| api::Network {
        net: Some(mesh_api::net::IpNetwork { ip: Some(ip.into()), prefix_len: 0 }),
        except: Vec::new(),
    };
    let permit = authn::Permit::Unauthenticated(authn::PermitUnauthenticated {});
    api::Authz {
        networks: vec![net([0, 0, 0, 0].into()), net([0u16; 8].into())],
        authentication: Some(api::Authn { permit: Some(permit) }),
        labels: labels("all-unauthenticated"),
        metadata: Some(super::outbound::named("all-unauthenticated")),
    }
}

fn labels(name: &str) -> HashMap<String, String> {
    [("group", ""), ("kind", "default"), ("name", name)]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into_iter()
        .collect()
}
