//! Serving: a gRPC server on a listener, and streams that send the latest state against what was last sent.

use futures::Stream;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Pings find dead peers, whose streams would otherwise be kept for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `routes` on `listener` until `until` completes and the requests in flight have ended.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    until: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, until)
        .await
}

struct Flow<V, M, R> {
    views: watch::Receiver<Arc<V>>,
    until: BoxFuture<'static, ()>,
    render: R,
    sent: Option<Arc<V>>,
    pending: VecDeque<M>,
}

/// A stream of what `render` makes of the last view sent (none at first) and the latest. Views that come while the
/// reader is slow are skipped, so nothing queues up. It ends with `until`, when the sender of views is gone, or with
/// the status that `render` answers with.
pub fn latest<V, M, R>(
    views: watch::Receiver<Arc<V>>,
    until: impl Future<Output = ()> + Send + 'static,
    render: R,
) -> impl Stream<Item = Result<M, Status>> + Send + 'static
where
    V: Send + Sync + 'static,
    M: Send + 'static,
    R: FnMut(Option<&V>, &V) -> Result<Vec<M>, Status> + Send + 'static,
{
    let flow = Flow { views, until: Box::pin(until), render, sent: None, pending: VecDeque::new() };
    futures::stream::unfold(flow, |mut flow| async move {
        loop {
            if let Some(message) = flow.pending.pop_front() {
                return Some((Ok(message), flow));
            }
            if flow.sent.is_some() {
                tokio::select! {
                    biased;
                    () = &mut flow.until => return None,
                    changed = flow.views.changed() => changed.ok()?,
                }
            }
            let view = Arc::clone(&flow.views.borrow_and_update());
            match (flow.render)(flow.sent.as_deref(), &view) {
                Ok(messages) => flow.pending.extend(messages),
                Err(status) => {
                    flow.until = Box::pin(std::future::ready(()));
                    flow.sent = Some(view);
                    return Some((Err(status), flow));
                }
            }
            flow.sent = Some(view);
        }
    })
}

#[cfg(test)]
mod tests;
