use super::*;

fn request(uri: &str, version: Version) -> Request<()> {
    let mut request = Request::builder().uri(uri).version(version).header("host", "web.shop:8080");
    for (name, value) in [("connection", "close, x-hop"), ("x-hop", "1"), ("te", "gzip"), ("x-app", "2")] {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

fn destination() -> Option<Authority> {
    Some(Authority::from_static("10.0.0.1:80"))
}

#[test]
fn an_http1_request_survives_the_way_over_http2() {
    for (uri, version) in [
        ("/a?b=c", Version::HTTP_11),
        ("/", Version::HTTP_10),
        ("http://web.shop:8080/abs", Version::HTTP_11),
    ] {
        let mut sent = request(uri, version);
        strip_connection_headers(sent.headers_mut());
        upgrade_request(&mut sent, destination);
        assert_eq!(sent.version(), Version::HTTP_2);
        assert_eq!(sent.uri().authority().unwrap(), "web.shop:8080");
        assert!(!sent.headers().contains_key("connection") && !sent.headers().contains_key("x-hop"));
        let carried = downgrade_request(&mut sent).unwrap();
        assert_eq!((sent.version(), carried.version), (version, version));
        assert_eq!(sent.uri(), uri);
        assert_eq!(sent.headers()["host"], "web.shop:8080");
        assert_eq!(sent.headers()["x-app"], "2");
        assert!(!sent.headers().contains_key(ORIG_PROTO));
    }
}

#[test]
fn a_request_without_host_takes_the_destinations() {
    let mut sent = Request::builder().uri("/x").version(Version::HTTP_10).body(()).unwrap();
    upgrade_request(&mut sent, destination);
    assert_eq!(sent.uri(), "http://10.0.0.1:80/x");
}

#[test]
fn http2_requests_are_left_alone() {
    let mut sent = request("http://web.shop/x", Version::HTTP_2);
    upgrade_request(&mut sent, destination);
    assert!(!sent.headers().contains_key(ORIG_PROTO));
    assert_eq!(downgrade_request(&mut sent), None);
}

#[test]
fn the_answer_is_http1_again() {
    let mut response = Response::builder().header("keep-alive", "5").body(()).unwrap();
    mark_response(&mut response, Carried { version: Version::HTTP_11 });
    assert!(!response.headers().contains_key("keep-alive"));
    *response.version_mut() = Version::HTTP_2;
    restore_response(&mut response);
    assert_eq!(response.version(), Version::HTTP_11);
    assert!(!response.headers().contains_key(ORIG_PROTO));
}
