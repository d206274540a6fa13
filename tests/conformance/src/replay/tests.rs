use super::*;

#[test]
fn kept_values_are_filled_in_and_must_exist() {
    let kept = BTreeMap::from([("rv".to_owned(), "7".to_owned())]);
    assert_eq!(
        filled("GET /x?resourceVersion=${rv}&y=${rv}", &kept).unwrap(),
        "GET /x?resourceVersion=7&y=7"
    );
    assert!(filled("${uid}", &kept).unwrap_err().to_string().contains("\"uid\""));
    assert!(filled("${rv", &kept).is_err());
}
