use super::*;

fn request(uri: &str) -> Request<()> {
    Request::builder().uri(uri).header("host", "shop.example:8080").body(()).unwrap()
}

fn location(redirect: Redirect, uri: &str, by: Option<&RequestMatch>) -> String {
    match apply_request(&[Filter::Redirect(redirect)], &mut request(uri), by, 0.0) {
        Err(ShortCircuit::Redirect { location, .. }) => location,
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_are_added_then_set_then_removed() {
    let field = |name: &str, value: &str| HeaderModifier::field(name, value.as_bytes()).unwrap();
    let modifier = HeaderModifier {
        add: vec![field("a", "2"), field("c", "1")],
        set: vec![field("b", "new")],
        remove: vec!["c".parse().unwrap()],
    };
    let mut headers = HeaderMap::from_iter([field("a", "1"), field("b", "old")]);
    modifier.apply(&mut headers);
    assert_eq!(headers.get_all("a").iter().count(), 2);
    assert_eq!(headers["b"], "new");
    assert!(!headers.contains_key("c"));
}

#[test]
fn failures_are_injected_by_ratio() {
    let fail =
        |ratio| Filter::Fail { status: StatusCode::FORBIDDEN, grpc: None, message: "no".into(), ratio };
    assert!(apply_request(&[fail(1.0)], &mut request("/"), None, 0.99).is_err());
    assert!(apply_request(&[fail(0.5)], &mut request("/"), None, 0.6).is_ok());
    assert!(apply_request(&[fail(0.0)], &mut request("/"), None, 0.0).is_ok());
}

#[test]
fn redirects_keep_what_they_do_not_change() {
    let https = Redirect { scheme: Some(Scheme::HTTPS), ..Redirect::default() };
    assert_eq!(location(https, "/a?b=c", None), "https://shop.example/a?b=c");
    let host = Redirect { host: Some("other".into()), ..Redirect::default() };
    assert_eq!(location(host, "/a", None), "http://other:8080/a");
}

#[test]
fn a_redirect_replaces_the_matched_prefix() {
    let by = RequestMatch { path: Some(PathMatch::Prefix("/old".into())), ..RequestMatch::default() };
    let redirect = Redirect { path: Some(PathRewrite::Prefix("/new".into())), ..Redirect::default() };
    assert_eq!(location(redirect.clone(), "/old/x?y", Some(&by)), "http://shop.example:8080/new/x?y");
    let root = Redirect { path: Some(PathRewrite::Prefix("/".into())), ..Redirect::default() };
    assert_eq!(location(root, "/old", Some(&by)), "http://shop.example:8080/");
}
