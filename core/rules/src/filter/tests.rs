use super::*;
use http::Request;

fn moved(redirect: &Redirect, uri: &str, matched: Option<&HttpMatch>) -> String {
    let request = Request::builder().uri(uri).header("host", "web.shop").body(()).unwrap();
    redirect.location(&RequestView::of(&request), matched).1
}

#[test]
fn headers_are_set_added_and_removed() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-set", "old"), ("x-add", "one"), ("x-gone", "1")] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let edit = HeaderEdit {
        set: vec![header("X-Set", b"new").unwrap()],
        add: vec![header("x-add", b"two").unwrap()],
        remove: vec![HeaderName::from_static("x-gone")],
    };
    edit.apply(&mut headers);
    assert_eq!(headers["x-set"], "new");
    assert_eq!(headers.get_all("x-add").iter().count(), 2);
    assert!(!headers.contains_key("x-gone"));
    assert!(header("x y", b"").is_err() && header("x", b"\n").is_err());
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let https = Redirect { scheme: Some("https".into()), ..Redirect::default() };
    assert_eq!(moved(&https, "http://web.shop:8080/a?b", None), "https://web.shop/a?b");
    let port = Redirect { port: Some(8443), ..Redirect::default() };
    assert_eq!(moved(&port, "/a", None), "http://web.shop:8443/a");
    let full = Redirect { path: Some(PathEdit::Full("/new".into())), ..Redirect::default() };
    assert_eq!(moved(&full, "/a?b=c", None), "http://web.shop/new?b=c");
}

#[test]
fn a_redirect_replaces_the_matched_prefix() {
    let redirect = Redirect { path: Some(PathEdit::Prefix("/v2".into())), ..Redirect::default() };
    let v1 = HttpMatch { path: Some(PathMatch::Prefix("/v1/".into())), ..HttpMatch::default() };
    assert_eq!(moved(&redirect, "/v1/items", Some(&v1)), "http://web.shop/v2/items");
    assert_eq!(moved(&redirect, "/v1", Some(&v1)), "http://web.shop/v2");
}

#[test]
fn failures_are_injected_by_ratio() {
    let injector = |ratio| FailureInjector { status: 503, message: String::new(), ratio };
    assert!(injector(None).hits(7));
    assert!(injector(Some((1, 4))).hits(8) && !injector(Some((1, 4))).hits(9));
    assert!(!injector(Some((0, 4))).hits(8));
}
