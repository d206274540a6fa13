//! Bytes: one endpoint for each connection, cut when the control plane withdraws access.

use super::balancer::{Outcome, Ticket, Use};
use super::discovery::SnapshotReceiver;
use super::policy::{Opaque, Protocol, Snapshot};
use super::{DISCOVERY_TIMEOUT, Outbound, first, forbidden};
use crate::error::Error;
use crate::http::client::PeerIo;
use mesh_net::copy_bidirectional;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

impl Outbound {
    /// Forwards a connection as bytes.
    ///
    /// # Errors
    /// Why it was not, or not to the end.
    pub async fn forward<I>(&self, mut io: I, mut snapshots: SnapshotReceiver) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let unknown = || Error::NoEndpoints("a destination that is not known yet".into());
        let snapshot = first(&mut snapshots, DISCOVERY_TIMEOUT).await.ok_or_else(unknown)?;
        self.resolved(&snapshot).parent.protocol("opaq");
        if let Some(reason) = snapshot.forbidden() {
            return Err(Error::Forbidden(reason.to_owned().into()));
        }
        self.common.load.admit()?;
        let opaque = opaque(&snapshot)?;
        // Connecting is soon over, and its future large.
        let (mut server, ticket) = Box::pin(self.connect(&opaque)).await?;
        let (route, to) = (self.common.metrics.tcp_route(&opaque.labels), ticket.peer().endpoint.addr);
        route.opened(to);
        let result = tokio::select! {
            result = copy_bidirectional(&mut io, &mut server, |_, _| ()) => {
                result.map_err(|error| Error::Io(error.source))
            }
            reason = forbidden(&mut snapshots) => Err(Error::Forbidden(reason.into())),
        };
        route.closed(to, result.as_ref().err().map_or("", Error::label));
        result
    }

    /// Connects to one endpoint after the other until one answers.
    async fn connect(&self, opaque: &Opaque) -> Result<(PeerIo, Ticket), Error> {
        let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
        let mut failed = None;
        loop {
            let (_, ticket) = match self.place(&opaque.backends, &tried, Use::Tcp).await {
                Ok(place) => place,
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            let started = Instant::now();
            match ticket.peer().pool.open().await {
                Ok(io) => {
                    let now = Instant::now();
                    ticket.answered(now - started, now);
                    ticket.settle(Outcome::SUCCESS, now);
                    return Ok((io, ticket));
                }
                Err(error) => {
                    tried.push(ticket.peer().endpoint.addr);
                    failed = Some(error);
                }
            }
        }
    }
}

fn opaque(snapshot: &Snapshot) -> Result<Arc<Opaque>, Error> {
    match &snapshot.protocol {
        Protocol::Opaque(opaque) | Protocol::Detect { opaque, .. } => Ok(Arc::clone(opaque)),
        Protocol::Http1(_) | Protocol::Http2(_) => {
            Err(Error::Forbidden("the destination takes HTTP only".into()))
        }
    }
}
