use super::*;

#[tokio::test]
async fn drain_signals_tasks_and_waits_for_them() {
    let shutdown = Shutdown::new();
    let token = shutdown.token();
    let task = shutdown.spawn("waits", async move { token.cancelled().await });
    let endless = shutdown.spawn_until_drain("endless", std::future::pending::<()>());
    assert!(!shutdown.is_draining());
    assert!(shutdown.drain(Duration::from_secs(5)).await);
    task.await.unwrap();
    assert_eq!(endless.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn drain_gives_up_at_its_deadline() {
    let shutdown = Shutdown::new();
    drop(shutdown.spawn("stuck", std::future::pending::<()>()));
    assert!(!shutdown.drain(Duration::from_secs(1)).await);
}
