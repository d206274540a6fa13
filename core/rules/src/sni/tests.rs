use super::*;
use proptest::prelude::*;

fn exact(name: &str) -> HostMatch {
    HostMatch::Exact(name.to_owned())
}

fn below(suffix: &str) -> HostMatch {
    HostMatch::Suffix(suffix.to_owned())
}

fn route(value: &'static str, snis: &[HostMatch]) -> SniRoute<&'static str> {
    SniRoute { snis: snis.to_vec(), value }
}

#[test]
fn exact_names_beat_suffixes_and_longer_suffixes_beat_shorter() {
    let routes = [
        route("all", &[]),
        route("shop", &[below("shop.example")]),
        route("eu", &[below("eu.shop.example"), exact("other.example")]),
        route("web", &[exact("web.eu.shop.example")]),
    ];
    for (name, taken) in [
        ("web.eu.shop.example", "web"),
        ("WEB.eu.shop.example.", "web"),
        ("api.eu.shop.example", "eu"),
        ("a.b.eu.shop.example", "eu"),
        ("other.example", "eu"),
        ("eu.shop.example", "shop"),
        ("shop.example", "all"),
        ("notshop.example", "all"),
        ("", "all"),
    ] {
        assert_eq!(find_sni(&routes, Some(name)), Some(&taken), "{name}");
    }
}

#[test]
fn a_suffix_is_for_names_below_it_only() {
    let routes = [route("shop", &[below("shop.example")])];
    assert_eq!(find_sni(&routes, Some("web.shop.example")), Some(&"shop"));
    for name in ["shop.example", ".shop.example", "xshop.example", "example", ""] {
        assert_eq!(find_sni(&routes, Some(name)), None, "{name}");
    }
}

#[test]
fn a_client_without_a_name_takes_routes_for_all_only() {
    let named = route("named", &[exact("web.example"), below("example")]);
    assert_eq!(find_sni(std::slice::from_ref(&named), None), None);
    assert_eq!(find_sni(&[named, route("all", &[])], None), Some(&"all"));
}

#[test]
fn the_first_of_equals_is_taken() {
    let routes = [route("first", &[exact("web.example")]), route("second", &[exact("web.example")])];
    assert_eq!(find_sni(&routes, Some("web.example")), Some(&"first"));
    let routes = [route("first", &[]), route("second", &[])];
    assert_eq!(find_sni(&routes, Some("web.example")), Some(&"first"));
    assert_eq!(find_sni::<()>(&[], Some("web.example")), None);
}

proptest! {
    #[test]
    fn the_order_of_routes_does_not_matter_where_none_are_equal(name in "[a-c]{0,2}(\\.[a-c]){0,3}") {
        let mut routes = [route("all", &[]), route("a", &[below("a")]), route("a.b", &[exact("a.b")]), route("b.a", &[below("b.a")])];
        let taken = find_sni(&routes, Some(&name)).copied();
        routes.reverse();
        prop_assert_eq!(find_sni(&routes, Some(&name)).copied(), taken);
    }
}
