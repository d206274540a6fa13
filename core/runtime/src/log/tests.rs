use super::*;

#[test]
fn linkerd_stands_for_all_of_our_crates() {
    assert_eq!(translate("warn,linkerd=info,hickory=error"), "warn,mesh=info,isthmus=info,hickory=error");
    assert_eq!(translate(" info , "), "info");
}

#[test]
fn a_bad_filter_is_named() {
    let error = parse("mesh=loud").unwrap_err();
    assert!(error.to_string().contains("mesh=loud"), "{error}");
}
