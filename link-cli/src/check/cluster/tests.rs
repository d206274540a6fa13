use super::*;

#[test]
fn versions_before_native_sidecars_are_too_old() {
    for (major, minor, old) in [("1", "28", true), ("1", "29", false), ("1", "34+", false), ("2", "0", false)]
    {
        assert_eq!(too_old(major, minor), old, "{major}.{minor}");
    }
}
