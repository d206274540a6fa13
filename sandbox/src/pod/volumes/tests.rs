use std::fs;

use super::*;

fn payload(files: &[(&str, &str)]) -> Payload {
    files.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o644))).collect()
}

#[test]
fn contents_change_at_once_through_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("volume");
    writer::write(&at, &payload(&[("token", "one"), ("deep/file", "1"), ("gone", "x")]), None).unwrap();
    assert_eq!(fs::read_to_string(at.join("token")).unwrap(), "one");
    assert_eq!(fs::read_to_string(at.join("deep/file")).unwrap(), "1");
    let old = fs::read_link(at.join("..data")).unwrap();

    writer::write(&at, &payload(&[("token", "two"), ("deep/file", "2")]), None).unwrap();
    assert_eq!(fs::read_to_string(at.join("token")).unwrap(), "two");
    assert_ne!(fs::read_link(at.join("..data")).unwrap(), old);
    assert!(!at.join("gone").exists() && !at.join(old).exists());
    assert_eq!(fs::read_link(at.join("token")).unwrap(), Path::new("..data/token"));
}

#[test]
fn a_path_that_leads_out_of_the_volume_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for path in ["../x", "/etc/x", "a/../../x", ""] {
        assert!(writer::write(&directory.path().join("v"), &payload(&[(path, "x")]), None).is_err());
    }
}
