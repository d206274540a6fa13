use super::*;

#[test]
fn providers_suffixes_are_read_over() {
    let read = |minor: &str| KubernetesVersion::parse("1", minor);
    assert_eq!(read("29+"), Some(KubernetesVersion { major: 1, minor: 29 }));
    assert_eq!(read("34"), Some(KubernetesVersion { major: 1, minor: 34 }));
    assert_eq!(read(""), None);
    assert_eq!(KubernetesVersion::parse("one", "34"), None);
}

#[test]
fn features_begin_with_their_versions() {
    let at = |minor: u32| KubernetesVersion { major: 1, minor };
    let features = |v: KubernetesVersion| (v.has_native_sidecars(), v.has_sleep_action());
    assert_eq!([at(28), at(29), at(30)].map(features), [(false, false), (true, false), (true, true)]);
    assert!(KubernetesVersion { major: 2, minor: 0 }.has_sleep_action());
}
