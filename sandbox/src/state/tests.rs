use super::*;

#[test]
fn a_taken_directory_is_refused_and_a_stale_one_is_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::resolve(Some(dir.path().join("sandbox")));
    assert_eq!(state.running(), None);
    let lock = state.take().unwrap();
    fs::write(state.kubeconfig(), "old").unwrap();
    assert_eq!(state.running(), Some(std::process::id()));
    assert!(matches!(state.take(), Err(Error::AlreadyRunning { pid, .. }) if pid == std::process::id()));
    drop(lock);
    assert_eq!(state.running(), None);
    let _lock = state.take().unwrap();
    assert!(!state.kubeconfig().exists());
    state.remove().unwrap();
    state.remove().unwrap();
}
