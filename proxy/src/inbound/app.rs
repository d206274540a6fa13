//! Connections to the application: plain TCP, pooled as those to endpoints are.

use crate::config::{Config, Inbound as Settings};
use crate::dial::dial;
use crate::drain::Drain;
use crate::error::Error;
use crate::http::client::{Connect, Connections, Terms};
use mesh_balance::Admission;
use mesh_net::{SessionProtocol, SocketOptions};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The application at one address, as one worker knows it.
pub(super) type App = Connections<ToApp>;

/// How the application is connected to.
pub(super) struct ToApp {
    addr: SocketAddr,
    config: Arc<Config>,
    drain: Drain,
    terms: Terms,
}

/// Opens a plain connection to the application.
///
/// # Errors
/// [`Error::Connect`] or [`Error::ConnectTimeout`].
pub(super) async fn connect(
    addr: SocketAddr,
    settings: &Settings,
    drain: &Drain,
) -> Result<TcpStream, Error> {
    let options = SocketOptions {
        keepalive: settings.sockets.connect_keepalive,
        user_timeout: settings.sockets.connect_user_timeout,
    };
    dial(addr, &options, settings.connect_timeout, drain).await
}

impl App {
    /// No connections yet.
    pub(super) fn new(addr: SocketAddr, config: Arc<Config>, drain: Drain) -> Rc<Self> {
        let http = &config.inbound.http;
        let terms = Terms {
            idle_timeout: http.pool_idle_timeout,
            max_idle: http.max_idle_per_endpoint,
            stream_window: http.h2_stream_window,
            connection_window: http.h2_connection_window,
            adaptive_window: false,
            keep_alive: None,
            // The application is on this machine, and some count their connections.
            max_http2: 1,
        };
        Self::to(ToApp { addr, config, drain, terms })
    }
}

impl Connect for ToApp {
    type Io = TcpStream;

    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    async fn connect(&self, _: Option<SessionProtocol>, _: Option<Admission>) -> Result<TcpStream, Error> {
        connect(self.addr, &self.config.inbound, &self.drain).await
    }
}
