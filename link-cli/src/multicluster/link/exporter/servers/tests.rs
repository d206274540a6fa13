use super::*;

fn urls(candidates: &[Candidate]) -> Vec<&str> {
    candidates.iter().map(|c| c.url.as_str()).collect()
}

fn endpoint(ip: &str) -> Vec<String> {
    vec![format!("https://{ip}:6443")]
}

#[test]
fn kinds_kubeconfig_gives_the_address_of_the_node() {
    let published = Some("https://east-control-plane:6443".to_owned());
    let all = rank(None, "https://127.0.0.1:40123", published, endpoint("172.18.0.3"));
    assert_eq!(urls(&all), ["https://172.18.0.3:6443", "https://east-control-plane:6443"]);
    assert_eq!(all[0].from, "the endpoints of default/kubernetes");
}

#[test]
fn an_address_of_the_kubeconfig_that_others_may_reach_comes_first_and_once() {
    let all =
        rank(None, "https://api.example.com/", Some("https://api.example.com".into()), endpoint("10.0.0.4"));
    assert_eq!(urls(&all), ["https://api.example.com", "https://10.0.0.4:6443"]);
}

#[test]
fn a_published_address_is_preferred_where_others_can_resolve_it() {
    for published in ["https://198.18.1.1:6443", "https://api.east.example:6443"] {
        let all = rank(None, "https://localhost:6443", Some(published.to_owned()), endpoint("10.0.0.4"));
        assert_eq!(urls(&all), [published, "https://10.0.0.4:6443"]);
    }
}

#[test]
fn what_was_given_comes_first_whatever_it_is() {
    let all = rank(Some("https://127.0.0.1:1"), "https://[::1]:6443", None, endpoint("10.0.0.4"));
    assert_eq!(urls(&all), ["https://127.0.0.1:1", "https://10.0.0.4:6443"]);
    assert_eq!(rank(None, "https://[::1]:6443", Some("https://0.0.0.0:6443".into()), vec![]), []);
}

#[test]
fn hosts_are_found_in_every_form() {
    for (url, expected) in [
        ("https://a:1", "a"),
        ("https://a", "a"),
        ("https://[fd00::1]:6443/x", "fd00::1"),
        ("10.0.0.1:443", "10.0.0.1"),
        ("https://a.example/path:7", "a.example"),
        ("", ""),
    ] {
        assert_eq!(host(url), expected, "{url}");
    }
}
