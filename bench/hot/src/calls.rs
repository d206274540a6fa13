//! The hot functions, each called many times with what it usually sees.

use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use mesh_balance::{Load, Weights};
use mesh_net::{SessionProtocol, TransportHeader};
use mesh_proxy::http::orig_proto;
use mesh_rules::{HostMatch, PathMatch, RequestMatch, Route, Rule, ValueMatch};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::hint::black_box;

/// Calls a function this many times.
type Call = fn(u64);

/// Every hot function by name.
pub(super) const ALL: &[(&str, Call)] = &[
    ("route: one rule for all", |n| routes(1, n)),
    ("route: last of twenty", |n| routes(20, n)),
    ("pick: of 2", |n| pick(2, n)),
    ("pick: of 10", |n| pick(10, n)),
    ("pick: of 1000", |n| pick(1000, n)),
    ("detect: HTTP/1 head", |n| detect(HEAD, n)),
    ("detect: HTTP/2 preface", |n| detect(PREFACE, n)),
    ("detect: ClientHello", client_hello),
    ("transport header: encode", transport_header),
    ("HTTP/1 over HTTP/2: request there and back", carried_request),
    ("HTTP/1 over HTTP/2: response there and back", carried_response),
];

const HEAD: &[u8] =
    b"GET /small HTTP/1.1\r\nHost: app.bed.svc.cluster.local:8080\r\nUser-Agent: bench\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0";

fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/items/17?full=yes");
    let headers = request.headers_mut();
    for (name, value) in [
        ("host", "web.shop.svc.cluster.local"),
        ("user-agent", "curl/8.1"),
        ("accept", "*/*"),
        ("x-request-id", "0123456789abcdef"),
        ("connection", "keep-alive"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    request
}

fn routes(rules: usize, n: u64) {
    let rule = |number: usize| {
        let path = if number + 1 == rules { "/".to_owned() } else { format!("/other/{number}") };
        let mut only = RequestMatch { path: Some(PathMatch::Prefix(path)), ..RequestMatch::default() };
        if number % 3 == 1 {
            only.headers.push((header::ACCEPT, ValueMatch::Exact("text/html".to_owned())));
        }
        Rule { matches: vec![only], value: number }
    };
    let hosts = vec![HostMatch::Exact("web.shop.svc.cluster.local".to_owned())];
    let routes = [Route { hosts, rules: (0..rules).map(rule).collect() }];
    let request = request();
    for _ in 0..n {
        let found = mesh_rules::find(black_box(&routes), black_box(&request));
        black_box(found.map(|found| *found.value));
    }
}

fn pick(endpoints: usize, n: u64) {
    let weights = Weights::new(vec![10_000; endpoints]);
    let loads: Vec<Load> =
        (0..endpoints).map(|i| Load { rtt: 0.001 + i as f64 * 1e-6, inflight: (i % 3) as u32 }).collect();
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..n {
        black_box(black_box(&weights).pick(|i| loads.get(i).copied(), &mut rng));
    }
}

fn detect(bytes: &[u8], n: u64) {
    for _ in 0..n {
        black_box(mesh_net::http(black_box(bytes)));
    }
}

fn client_hello(n: u64) {
    let bytes = include_bytes!("../../../fuzz/seeds/client_hello/mesh");
    for _ in 0..n {
        black_box(mesh_net::client_hello(black_box(bytes)));
    }
}

fn transport_header(n: u64) {
    let header = TransportHeader {
        port: 8080,
        name: Some("web.shop.svc.cluster.local".to_owned()),
        protocol: Some(SessionProtocol::Http2),
    };
    for _ in 0..n {
        black_box(black_box(&header).encode());
    }
}

fn carried_request(n: u64) {
    let (authority, original) = (http::uri::Authority::from_static("10.0.0.1:80"), request());
    for _ in 0..n {
        let mut request = original.clone();
        orig_proto::strip_connection_headers(black_box(&mut request).headers_mut());
        orig_proto::upgrade_request(&mut request, || Some(authority.clone()));
        black_box(orig_proto::downgrade_request(&mut request));
    }
}

fn carried_response(n: u64) {
    let mut original = Response::new(());
    for (name, value) in [("content-type", "text/plain"), ("content-length", "100"), ("server", "bed")] {
        original.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let carried = orig_proto::Carried { version: http::Version::HTTP_11 };
    for _ in 0..n {
        let mut response = original.clone();
        orig_proto::mark_response(black_box(&mut response), carried);
        orig_proto::restore_response(black_box(&mut response));
    }
}
