use super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Texts of `docs/checks.md` by anchor.
fn page() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(repository().join("docs/checks.md")).unwrap();
    let entries = text.split("\n<a id=\"").skip(1).map(|entry| {
        let (anchor, rest) = entry.split_once('"').unwrap();
        (anchor.to_owned(), rest.to_owned())
    });
    entries.collect()
}

#[test]
fn the_page_has_an_entry_with_a_remedy_for_every_check_and_no_other() {
    let page = page();
    let there: BTreeSet<&str> = page.iter().map(|(anchor, _)| anchor.as_str()).collect();
    assert_eq!(there, ANCHORS.iter().copied().collect());
    assert_eq!(there.len(), page.len(), "an entry is there twice");
    for (anchor, text) in &page {
        assert!(text.contains(&format!("### {anchor}\n")), "{anchor}: the heading names another");
        assert!(text.contains("**Remedy:**"), "{anchor}: what to do?");
    }
}

#[test]
fn every_check_is_broken_in_a_test() {
    let folder = repository().join("link-cli/tests/check");
    let files =
        std::fs::read_dir(folder).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap());
    let tests: String = files.collect();
    let untested: Vec<&&str> = ANCHORS.iter().filter(|a| !tests.contains(&format!("\"{a}\""))).collect();
    assert!(untested.is_empty(), "no test breaks {untested:?}");
}
