use super::*;
use proptest::prelude::*;

#[test]
fn authority_parses_names_addresses_and_default_ports() {
    assert_eq!(Authority::parse("Web.Shop.svc.:8080", 80).unwrap().to_string(), "web.shop.svc:8080");
    assert_eq!(Authority::parse("web", 80).unwrap().port, 80);
    assert_eq!(Authority::parse("[::1]:90", 80).unwrap().to_string(), "[::1]:90");
    assert_eq!(Authority::parse("::1", 80).unwrap().to_string(), "[::1]:80");
}

#[test]
fn authority_names_the_part_that_is_wrong() {
    assert!(matches!(Authority::parse("web:0", 80), Err(AuthorityError::Port(_))));
    assert!(matches!(Authority::parse("web:x", 80), Err(AuthorityError::Port(_))));
    assert!(matches!(Authority::parse(":80", 80), Err(AuthorityError::Host(_))));
}

#[test]
fn brackets_belong_around_addresses() {
    for wrong in ["a].", "a[b", "[::1].", "a]b:80"] {
        assert!(matches!(Authority::parse(wrong, 80), Err(AuthorityError::Host(_))), "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_understood_is_shown_in_a_form_that_means_the_same(text in r"[\[\]a-zA-Z0-9:.%/\PC]{0,40}") {
        if let Ok(authority) = Authority::parse(&text, 80) {
            prop_assert_eq!(Authority::parse(&authority.to_string(), 1), Ok(authority));
        }
    }
}
