use super::*;
use mesh_types::headers;

fn transport() -> Transport {
    Transport::plain("10.0.0.1:4143".parse().unwrap())
}

fn keeping() -> Keeping {
    let memory = crate::http::replay::Memory::new(KEPT);
    Keeping { limit: KEPT, memory, clock: None, frames: None }
}

fn request(uri: &str) -> ::http::request::Builder {
    Request::builder().uri(uri).header("host", "catalog.shop")
}

#[test]
fn http1_is_carried_over_http2_to_endpoints_that_understand_it() {
    let template = Template::new(request("/a").body(Body::Empty).unwrap(), keeping);
    let carried = template.request(&Transport { hint: Hint::Http2, ..transport() }).unwrap();
    assert_eq!(carried.version(), Version::HTTP_2);
    assert_eq!(carried.uri(), "http://catalog.shop/a");
    assert_eq!(carried.headers()[headers::ORIG_PROTO], "HTTP/1.1");
    assert_eq!(template.request(&transport()).unwrap().version(), Version::HTTP_11);
}

#[test]
fn upgrades_stay_http1() {
    let upgrade = request("/ws").header("connection", "upgrade").header("upgrade", "websocket");
    let template = Template::new(upgrade.body(Body::Empty).unwrap(), keeping);
    let sent = template.request(&Transport { hint: Hint::Http2, ..transport() }).unwrap();
    assert_eq!(sent.version(), Version::HTTP_11);
    assert_eq!(sent.headers()["upgrade"], "websocket");
}

#[test]
fn the_gateway_is_asked_for_the_remote_name_in_every_http_version() {
    let remote: Authority = "catalog.shop.svc.cluster.local:80".parse().unwrap();
    let gateway = Transport { hint: Hint::Http2, authority: Some(remote.clone()), ..transport() };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let uri = if version == Version::HTTP_2 { "http://catalog-west.shop/a" } else { "/a" };
        let asked = request(uri).version(version).body(Body::Empty).unwrap();
        let sent = Template::new(asked, keeping).request(&gateway).unwrap();
        assert_eq!(sent.uri().authority(), Some(&remote), "{version:?}");
        assert!(sent.headers().get("host").is_none_or(|host| host == remote.as_str()), "{version:?}");
    }
}

#[test]
fn connection_headers_end_here() {
    let asked = request("/a").header("connection", "close, x-mine").header("x-mine", "1").body(Body::Empty);
    let sent = Template::new(asked.unwrap(), keeping).request(&transport()).unwrap();
    assert!(!sent.headers().contains_key("connection") && !sent.headers().contains_key("x-mine"));
}
