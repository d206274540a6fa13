//! Connecting to a control-plane service, in a task of its own. Who waits for the connection has less patience than a
//! slow control plane needs to be found, connected to and shaken hands with: were it made by one of them, it would be
//! given up with each.

use super::connection::Connection;
use super::dns::{Dns, DnsError};
use super::{BACKOFF, ControlError};
use crate::config::ControlAddr;
use mesh_tls::MeshTls;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Limit for one address: TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What there is of a connection: nothing until the task that makes it is done.
type Made = Option<Connection>;

/// The one connection to a service that all who want it share.
pub(super) struct Shared {
    connector: Arc<Connector>,
    /// What the latest task makes, or has made. That task ends when this and all who wait are gone.
    latest: Mutex<watch::Receiver<Made>>,
}

/// What connections to a service are made with.
struct Connector {
    target: ControlAddr,
    tls: MeshTls,
    dns: Arc<Dns>,
}

impl Shared {
    pub(super) fn new(target: ControlAddr, tls: MeshTls, dns: Arc<Dns>) -> Self {
        let (_, nothing) = watch::channel(None);
        Self { connector: Arc::new(Connector { target, tls, dns }), latest: Mutex::new(nothing) }
    }

    pub(super) fn target(&self) -> &ControlAddr {
        &self.connector.target
    }

    /// The connection, once there is one; where there is none and nobody makes one, a task is started that does.
    ///
    /// # Errors
    /// [`ControlError::Abandoned`].
    pub(super) async fn connection(&self) -> Result<Connection, ControlError> {
        let mut latest = self.latest();
        let made = latest.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
        made.ok_or_else(|| ControlError::Abandoned { service: self.target().addr.to_string() })
    }

    fn latest(&self) -> watch::Receiver<Made> {
        let (sender, receiver) = watch::channel(None);
        let replaced = {
            let mut latest = self.latest.lock();
            if is_of_use(&latest) {
                return latest.clone();
            }
            std::mem::replace(&mut *latest, receiver.clone())
        };
        // Neither is done under the lock: the first wakes others, the second panics outside of a runtime.
        drop(replaced);
        tokio::spawn(Arc::clone(&self.connector).make(sender));
        receiver
    }

    /// Whether there is a connection that was made and is closed.
    #[cfg(test)]
    pub(super) fn is_lost(&self) -> bool {
        self.latest.lock().borrow().as_ref().is_some_and(Connection::is_closed)
    }
}

/// Whether there is a connection that takes requests, or a task that makes one.
fn is_of_use(latest: &watch::Receiver<Made>) -> bool {
    match &*latest.borrow() {
        Some(connection) => !connection.is_closed(),
        None => latest.has_changed().is_ok(),
    }
}

impl Connector {
    /// Makes a connection, however long it takes, while anybody may want it.
    async fn make(self: Arc<Self>, made: watch::Sender<Made>) {
        tokio::select! {
            connection = self.connect() => {
                made.send_replace(Some(connection));
            }
            () = made.closed() => {}
        }
    }

    async fn connect(&self) -> Connection {
        let mut failures = 0u32;
        loop {
            let error = match self.connect_any().await {
                Ok(connection) => {
                    tracing::debug!(service = %self.target.addr, "connected to the control plane");
                    return connection;
                }
                Err(error) => error,
            };
            let delay = BACKOFF.delay(failures, rand::random());
            tracing::warn!(service = %self.target.addr, %error, retry_in = ?delay, "control plane unreachable");
            failures = failures.saturating_add(1);
            sleep(delay).await;
        }
    }

    /// Tries the addresses of the service in the order its name gives them now.
    async fn connect_any(&self) -> Result<Connection, ControlError> {
        let mut last = None;
        for addr in self.dns.resolve(&self.target.addr).await? {
            let reason = match timeout(CONNECT_TIMEOUT, self.connect_to(addr)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(reason)) => reason,
                Err(_) => format!("timed out after {CONNECT_TIMEOUT:?}"),
            };
            last = Some(ControlError::Connect { service: self.target.addr.to_string(), addr, reason });
        }
        Err(last.unwrap_or_else(|| DnsError::empty(&self.target.addr.host).into()))
    }

    async fn connect_to(&self, addr: SocketAddr) -> Result<Connection, String> {
        let tcp = TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        match &self.target.identity {
            None => Ok(Connection::over(tcp)),
            Some(identity) => {
                let name = mesh_tls::server_name(identity.as_str()).map_err(|e| e.to_string())?;
                let connector = self.tls.control_connector();
                let tls = connector.connect(name, tcp).await.map_err(|e| format!("TLS: {e}"))?;
                Ok(Connection::over(tls))
            }
        }
    }
}
