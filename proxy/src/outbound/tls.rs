//! TLS between an application and a server of its own, which passes as it is: its server name picks the route.
//!
//! The client speaks first, and what it says must be a whole ClientHello within the time limit of detection. Anything else is
//! closed, as Linkerd's proxy does: there is no route for it, and to take it for opaque would lead it past the routes. So is
//! a client for whose name there is no route. One that names nothing takes the routes that name nothing, as the API says;
//! Linkerd's proxy closes it.

use super::balancer::Use;
use super::discovery::SnapshotReceiver;
use super::policy::{Snapshot, Tls};
use super::{Outbound, refused};
use crate::error::Error;
use crate::relay::ResetOnClose;
use bytes::BytesMut;
use mesh_net::{PrefixedIo, Sniffed, client_hello, sniff};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

impl Outbound {
    /// Forwards a connection to a destination that takes TLS only.
    pub(super) async fn forward_tls<I>(
        &self,
        mut io: I,
        tls: &Tls,
        snapshot: &Arc<Snapshot>,
        mut snapshots: SnapshotReceiver,
    ) -> Result<(), Error>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin,
    {
        self.resolved(snapshot).parent.protocol("tls");
        self.common.load.admit()?;
        let mut buf = BytesMut::new();
        let sni = server_name(&mut io, &mut buf, self.config.outbound.detect_timeout).await?;
        let mut io = PrefixedIo::new(buf, io);
        let sni = sni.as_deref();
        let route = tls.route(sni).ok_or_else(|| Error::TlsRouteNotFound(sni.map(ToOwned::to_owned)))?;
        let hostname = sni.filter(|_| self.config.outbound.hostname_labels);
        let metrics = self.common.metrics.tls_route(&route.labels, hostname);
        metrics.opened();
        let result = async {
            let (mut server, _ticket) = Box::pin(self.connect(route, Use::Tls)).await?;
            let cut = refused(&mut snapshots, |snapshot| snapshot.refuses_tls(sni));
            super::tcp::relay_until(&mut io, &mut server, cut).await
        }
        .await;
        metrics.closed(result.as_ref().err());
        result
    }
}

/// The server name of the ClientHello that a connection begins with, which stays in `buf`; `None` where it has none.
async fn server_name<I>(io: &mut I, buf: &mut BytesMut, limit: Duration) -> Result<Option<String>, Error>
where
    I: AsyncRead + Unpin,
{
    match sniff(io, buf, limit, client_hello).await? {
        Sniffed::Found(Some(hello)) => Ok(hello.sni),
        Sniffed::Found(None) | Sniffed::Eof => Err(Error::TlsRequired),
        Sniffed::Timeout => Err(Error::TlsTimeout(limit)),
    }
}
