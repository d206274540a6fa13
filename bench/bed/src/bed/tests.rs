use super::*;

#[test]
fn endpoints_have_addresses_of_their_own_within_their_network() {
    let layout = Layout { endpoints: 1000, slow: None };
    let ips = layout.endpoint_ips();
    let distinct: std::collections::HashSet<_> = ips.iter().collect();
    assert_eq!(distinct.len(), 1000);
    assert_eq!((ips[0], ips[999]), (Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 3, 232)));
    assert_eq!(Layout::default().endpoint_ips(), [SERVER_IP]);
}

#[test]
fn only_the_folders_of_ended_processes_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    // Process ids end at 4194304.
    let ended = made(&format!("{FILES}4194305-abc"));
    let (running, other) = (made(&format!("{FILES}{}-abc", std::process::id())), made("isthmus-other-1-a"));
    sweep(dir.path());
    assert!(!ended.exists() && running.exists() && other.exists());
}
