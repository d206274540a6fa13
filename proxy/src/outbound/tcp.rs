//! Bytes: one endpoint for each connection, cut when the control plane withdraws access.

use super::balancer::{Outcome, Ticket, Use};
use super::discovery::SnapshotReceiver;
use super::place::{Failure, Tried};
use super::policy::{Opaque, Protocol, Refusal, Snapshot};
use super::{DISCOVERY_TIMEOUT, Outbound, first, forbidden};
use crate::error::Error;
use crate::http::client::BytesIo;
use crate::relay::{ResetOnClose, relay};
use futures::future::LocalBoxFuture;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

impl Outbound {
    /// Forwards a connection as bytes; where the destination takes TLS only, as its server name says.
    ///
    /// # Errors
    /// Why it was not, or not to the end.
    pub fn forward<'a, I>(
        &'a self,
        mut io: I,
        mut snapshots: SnapshotReceiver,
    ) -> LocalBoxFuture<'a, Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + 'a,
    {
        Box::pin(async move {
            let unknown = || Error::NoEndpoints("a destination that is not known yet".into());
            // This is soon over, and so is connecting.
            let knowing = Box::pin(first(&mut snapshots, DISCOVERY_TIMEOUT));
            let snapshot = knowing.await.ok_or_else(unknown)?;
            if let Protocol::Tls(tls) = &snapshot.protocol {
                return Box::pin(self.forward_tls(io, tls, &snapshot, snapshots)).await;
            }
            self.resolved(&snapshot).parent.protocol("opaq");
            if let Some(reason) = snapshot.forbidden() {
                return Err(Error::Forbidden(reason.to_owned().into()));
            }
            self.common.load.admit()?;
            let opaque = opaque(&snapshot)?;
            let (mut server, ticket) = Box::pin(self.connect(&opaque, Use::Tcp)).await?;
            let (route, to) = (self.common.metrics.tcp_route(&opaque.labels), ticket.peer().endpoint.addr);
            route.opened(to);
            let cut = async { Refusal::Forbidden(forbidden(&mut snapshots).await) };
            let result = relay_until(&mut io, &mut server, cut).await;
            route.closed(to, result.as_ref().err().map_or("", Error::label));
            result
        })
    }

    /// Connects to one endpoint of a route after the other until one answers, waiting for another where none does.
    pub(super) async fn connect(&self, route: &Opaque, for_: Use) -> Result<(BytesIo, Ticket), Error> {
        if let Some(refusal) = route.refusal(rand::random()) {
            return Err(refusal.clone().into());
        }
        let mut tried = Tried::new();
        let mut failed = None;
        loop {
            let (backend, ticket) = match self.place(&route.backends, &mut tried, for_).await {
                Ok(place) => place,
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            let started = Instant::now();
            match ticket.peer().pool.open().await {
                Ok(io) => {
                    let now = Instant::now();
                    ticket.answered(now - started, now);
                    ticket.settle(Outcome::SUCCESS, now);
                    self.taken(&backend.backend, for_);
                    return Ok((io, ticket));
                }
                Err(error) if !error.retry_safe() => return Err(error),
                Err(error) => {
                    let endpoint = &ticket.peer().endpoint;
                    tried.add(endpoint.addr, Failure::to_connect(&error, &endpoint.transport));
                    failed = Some(error);
                }
            }
        }
    }
}

/// Copies both ways until both sides are done or the connection is `cut`.
pub(super) async fn relay_until<A, B>(
    client: &mut A,
    server: &mut B,
    cut: impl Future<Output = Refusal>,
) -> Result<(), Error>
where
    A: AsyncRead + AsyncWrite + ResetOnClose + Unpin,
    B: AsyncRead + AsyncWrite + ResetOnClose + Unpin,
{
    tokio::select! {
        result = relay(client, server) => result.map_err(|error| Error::Io(error.source)),
        refusal = cut => Err(refusal.into()),
    }
}

fn opaque(snapshot: &Snapshot) -> Result<Arc<Opaque>, Error> {
    match &snapshot.protocol {
        Protocol::Opaque(opaque) | Protocol::Detect { opaque, .. } => Ok(Arc::clone(opaque)),
        Protocol::Http1(_) | Protocol::Http2(_) => {
            Err(Error::Forbidden("the destination takes HTTP only".into()))
        }
        Protocol::Tls(_) => Err(Error::TlsRequired),
    }
}
