//! Bytes: authorized once, and cut when the authorization is withdrawn.

use super::policies::PolicyReceiver;
use super::policy::Client;
use super::{Inbound, app};
use crate::error::Error;
use crate::metered::Metered;
use crate::relay::{ResetOnClose, relay};
use futures::future::LocalBoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

impl Inbound {
    /// Forwards a connection to the application as bytes.
    pub(super) fn forward<'a, I>(
        &'a self,
        mut io: I,
        client: Client,
        target: SocketAddr,
        mut policy: PolicyReceiver,
    ) -> LocalBoxFuture<'a, Result<(), Error>>
    where
        I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + 'a,
    {
        Box::pin(async move {
            self.authorize_connection(&client, target, &mut policy)?;
            // Soon over.
            let stream = Box::pin(app::connect(target, &self.config.inbound, &self.drain)).await?;
            let metrics = self.metrics.tcp("dst", target, &client.tls);
            let mut app = Metered::new(stream, metrics.read.clone(), metrics.written.clone());
            tokio::select! {
                result = relay(&mut io, &mut app) => {
                    let errno = result.as_ref().err().map_or("", |error| super::metrics::errno(&error.source));
                    metrics.close(errno);
                    result.map_err(|error| Error::Io(error.source))
                }
                error = self.withdrawn(&client, target, &mut policy) => {
                    metrics.close("");
                    Err(error)
                }
            }
        })
    }

    /// Lets a connection in, or says why not.
    pub(super) fn authorize_connection(
        &self,
        client: &Client,
        target: SocketAddr,
        policy: &mut PolicyReceiver,
    ) -> Result<(), Error> {
        let policy = Arc::clone(&policy.borrow_and_update());
        match policy.authorize(client) {
            Some(authorization) => {
                self.metrics.tcp_allowed(target, client, &policy, authorization);
                if authorization.is_audit() {
                    tracing::info!(client = client.describe(), %target, server = %policy.meta.name, "connection audited");
                }
                Ok(())
            }
            None => {
                self.metrics.tcp_denied(target, client, &policy);
                Err(unauthorized("connection", &policy.meta.name, client))
            }
        }
    }

    /// Resolves when policy no longer lets the client be connected.
    pub(super) async fn withdrawn(
        &self,
        client: &Client,
        target: SocketAddr,
        policy: &mut PolicyReceiver,
    ) -> Error {
        while policy.changed().await.is_ok() {
            let current = Arc::clone(&policy.borrow_and_update());
            if current.authorize(client).is_none() {
                self.metrics.tcp_terminated(target, client, &current);
                return unauthorized("connection", &current.meta.name, client);
            }
        }
        // Nobody changes this policy any more.
        std::future::pending().await
    }
}

pub(super) fn unauthorized(kind: &'static str, server: &str, client: &Client) -> Error {
    Error::Unauthorized { kind, server: server.to_owned(), client: client.describe() }
}
