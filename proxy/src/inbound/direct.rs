//! Direct connections, from other proxies to our own port: mutual TLS and a transport header are obligatory, one for the
//! connection or one for each stream of a tunnel. Those that name a service are a gateway's business; the others are for a
//! port of the application.

use super::policy::Client;
use super::{Inbound, PlainIo};
use crate::drain::Drain;
use crate::error::Error;
use futures::future::LocalBoxFuture;
use mesh_net::{HeaderError, Http, Refusal, SessionProtocol, TransportHeader, Tunnel};
use mesh_tls::{Alpn, TlsStream};
use mesh_types::Identity;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::time::timeout;

/// Streams that are refused in a row before the connection is closed: those of strangers cost them a handshake now and then.
const REFUSALS: u32 = 16;

/// A direct connection.
pub type DirectIo = Box<TlsStream<PlainIo>>;

/// What carries a direct connection that names a service.
pub enum Carrier<'a> {
    /// A connection of its own, after its header.
    Own(DirectIo),
    /// A stream of bytes on a tunnel, which is accepted when it is first used.
    Stream(&'a mut Tunnel<DirectIo>),
}

/// A connection that names a service: verified, authorized by the policy of our own port, its header read.
pub struct DirectConnection<'a> {
    /// What carries it.
    pub carrier: Carrier<'a>,
    /// Who opened it.
    pub client_id: Identity,
    /// From where.
    pub client_addr: SocketAddr,
    /// Our address that it arrived at.
    pub local_addr: SocketAddr,
    /// What it is for; the name is there.
    pub header: TransportHeader,
    /// The drain signal.
    pub drain: Drain,
}

/// Takes connections that name a service. A gateway is one.
pub trait DirectHandler {
    /// Serves a connection to its end. It is dropped in the middle when the policy of our port withdraws its authorization.
    fn serve<'a>(self: Rc<Self>, connection: DirectConnection<'a>) -> LocalBoxFuture<'a, Result<(), Error>>;
}

impl Inbound {
    /// Serves a direct connection, by what its header says.
    pub(super) async fn serve_direct(
        self: &Rc<Self>,
        mut io: DirectIo,
        client: Client,
        local_addr: SocketAddr,
    ) -> Result<(), Error> {
        let client_id = client.identity().cloned().ok_or(Error::IdentityRequired)?;
        match io.negotiated() {
            Alpn::None => {
                let missing = "the client did not offer one by ALPN".to_owned();
                return Err(Error::TransportHeader(missing));
            }
            Alpn::Tunnel => return Box::pin(self.serve_tunnel(io, client, client_id, local_addr)).await,
            Alpn::Transport => {}
        }
        // Soon over.
        let header = Box::pin(self.limited(TransportHeader::read(&mut io))).await?;
        self.note(&header, &client);
        if header.name.is_some() {
            let carrier = Carrier::Own(io);
            return Box::pin(self.serve_gateway(carrier, &client, client_id, local_addr, header)).await;
        }
        let target = SocketAddr::new(local_addr.ip(), header.port);
        self.refuse_loop(target)?;
        let policy = self.policies.get(target.port());
        let version = header.protocol.map(|protocol| match protocol {
            SessionProtocol::Http1 => Http::Http1,
            SessionProtocol::Http2 => Http::Http2,
        });
        self.serve_as(version, io, client, target, policy).await
    }

    /// Serves one stream after the other, until the client closes the connection, or until it is at rest and should close: in
    /// a drain, to give way to others, or because credentials have changed. The client opens its next stream elsewhere then.
    async fn serve_tunnel(
        self: &Rc<Self>,
        io: DirectIo,
        client: Client,
        client_id: Identity,
        local_addr: SocketAddr,
    ) -> Result<(), Error> {
        let expires = io.peer_info().map(|info| info.not_after);
        let mut tunnel = Tunnel::new(io);
        // The first stream comes with the connection.
        let mut open = Box::pin(self.limited(async { Ok(tunnel.asked().await?) })).await?;
        let mut refusals = 0;
        while open {
            let header = Box::pin(self.limited(tunnel.header())).await?;
            self.note(&header, &client);
            let served = self.serve_stream(&mut tunnel, &client, &client_id, local_addr, header).await;
            match served {
                Ok(()) => refusals = 0,
                Err(error) if tunnel.is_offered() => {
                    let refusal = if error.retry_safe() { Refusal::Unreachable } else { Refusal::Forbidden };
                    tracing::info!(client = client.describe(), %error, "stream refused");
                    self.metrics.tcp_error(local_addr, &error);
                    let reason = error.to_string();
                    Box::pin(self.limited(async { Ok(tunnel.refuse(refusal, &reason).await?) })).await?;
                    refusals += 1;
                    if refusals == REFUSALS {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
            open = tokio::select! {
                // A client that goes away loses nothing.
                asked = tunnel.asked() => asked.unwrap_or(false),
                () = self.drain.rest() => false,
            };
            let expired = expires.is_some_and(|expires| expires < SystemTime::now());
            open &= !expired && tunnel.get_ref().generation() == self.tls.generation();
        }
        let _ = tunnel.close().await;
        Ok(())
    }

    async fn serve_stream(
        self: &Rc<Self>,
        tunnel: &mut Tunnel<DirectIo>,
        client: &Client,
        client_id: &Identity,
        local_addr: SocketAddr,
        header: TransportHeader,
    ) -> Result<(), Error> {
        if header.protocol.is_some() {
            return Err(Error::TransportHeader("tunnels carry bytes only".to_owned()));
        }
        if header.name.is_some() {
            let carrier = Carrier::Stream(tunnel);
            let id = client_id.clone();
            return Box::pin(self.serve_gateway(carrier, client, id, local_addr, header)).await;
        }
        let target = SocketAddr::new(local_addr.ip(), header.port);
        self.refuse_loop(target)?;
        self.forward(tunnel, client.clone(), target, self.policies.get(target.port())).await
    }

    /// Reads a header or answers it, within the time there is for it.
    async fn limited<T>(&self, part: impl Future<Output = Result<T, HeaderError>>) -> Result<T, Error> {
        let limit = self.config.inbound.detect_timeout;
        timeout(limit, part)
            .await
            .map_err(|_| Error::TransportHeader(format!("not exchanged within {limit:?}")))?
            .map_err(|error| Error::TransportHeader(error.to_string()))
    }

    fn note(&self, header: &TransportHeader, client: &Client) {
        let protocol = match header.protocol {
            None => "",
            Some(SessionProtocol::Http1) => "http/1",
            Some(SessionProtocol::Http2) => "http/2",
        };
        // Names are nobody's where there is no gateway.
        let name = header.name.as_deref().filter(|_| self.gateway.is_some());
        self.metrics.transport_header(protocol, header.port, name, client);
    }

    async fn serve_gateway(
        &self,
        carrier: Carrier<'_>,
        client: &Client,
        client_id: Identity,
        local_addr: SocketAddr,
        header: TransportHeader,
    ) -> Result<(), Error> {
        let Some(gateway) = &self.gateway else {
            return Err(Error::TransportHeader(
                "a service is named, but this proxy is no gateway".to_owned(),
            ));
        };
        let mut policy = self.policies.get(local_addr.port());
        self.authorize_connection(client, local_addr, &mut policy)?;
        let connection = DirectConnection {
            carrier,
            client_id,
            client_addr: client.addr,
            local_addr,
            header,
            drain: self.drain.clone(),
        };
        tokio::select! {
            result = Rc::clone(gateway).serve(connection) => result,
            error = self.withdrawn(client, local_addr, &mut policy) => Err(error),
        }
    }
}
