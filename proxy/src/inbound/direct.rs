//! Direct connections, from other proxies to our own port: mutual TLS and a transport header are obligatory. Those that
//! name a service are a gateway's business; the others are for a port of the application.

use super::policy::Client;
use super::{Inbound, PlainIo};
use crate::drain::Drain;
use crate::error::Error;
use futures::future::LocalBoxFuture;
use mesh_net::{Http, SessionProtocol, TransportHeader};
use mesh_tls::TlsStream;
use mesh_types::Identity;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::time::timeout;

/// The stream of a direct connection, after its header.
pub type DirectIo = Box<TlsStream<PlainIo>>;

/// A connection that names a service: verified, authorized by the policy of our own port, its header read.
pub struct DirectConnection {
    /// The stream after the header.
    pub io: DirectIo,
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
    fn serve(self: Rc<Self>, connection: DirectConnection) -> LocalBoxFuture<'static, Result<(), Error>>;
}

impl Inbound {
    /// Serves a direct connection, by what its header says.
    pub(super) async fn serve_direct(
        self: &Rc<Self>,
        mut io: DirectIo,
        client: Client,
        local_addr: SocketAddr,
    ) -> Result<(), Error> {
        // Soon over.
        let (client_id, header) = Box::pin(self.header(&mut io, &client)).await?;
        if header.name.is_some() {
            return Box::pin(self.serve_gateway(io, client, client_id, local_addr, header)).await;
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

    /// Reads the header.
    async fn header(&self, io: &mut DirectIo, client: &Client) -> Result<(Identity, TransportHeader), Error> {
        let client_id = client.identity().cloned().ok_or(Error::IdentityRequired)?;
        if !io.negotiated_transport() {
            return Err(Error::TransportHeader("the client did not offer one by ALPN".to_owned()));
        }
        let limit = self.config.inbound.detect_timeout;
        let header = timeout(limit, TransportHeader::read(io))
            .await
            .map_err(|_| Error::TransportHeader(format!("not received within {limit:?}")))?
            .map_err(|error| Error::TransportHeader(error.to_string()))?;
        let protocol = match header.protocol {
            None => "",
            Some(SessionProtocol::Http1) => "http/1",
            Some(SessionProtocol::Http2) => "http/2",
        };
        self.metrics.transport_header(protocol, header.port, header.name.as_deref(), client);
        Ok((client_id, header))
    }

    async fn serve_gateway(
        &self,
        io: DirectIo,
        client: Client,
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
        self.authorize_connection(&client, local_addr, &mut policy)?;
        let connection = DirectConnection {
            io,
            client_id,
            client_addr: client.addr,
            local_addr,
            header,
            drain: self.drain.clone(),
        };
        tokio::select! {
            result = Rc::clone(gateway).serve(connection) => result,
            error = self.withdrawn(&client, local_addr, &mut policy) => Err(error),
        }
    }
}
