use super::*;

#[test]
fn variables_expand_and_unknown_names_stay() {
    let variables = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())].into();
    for (text, expected) in [
        ("$(A)-$(B)", "1-$(A)"),
        ("$$(A) $$", "$(A) $"),
        ("$(NONE) $(A", "$(NONE) $(A"),
        ("cost: 5$ $A", "cost: 5$ $A"),
        ("", ""),
    ] {
        assert_eq!(expand(text, &variables), expected);
    }
}
