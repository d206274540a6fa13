//! What hyper needs of our runtime: every worker is a single thread, so its tasks need not be `Send`.

use std::future::Future;

/// Runs hyper's background futures on the current worker.
///
/// Must be used on a thread that drives a tokio `LocalRuntime` (or inside a `LocalSet`).
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
