//! What every protocol promises, through one proxy and through two.

mod broken;
mod early;
mod http1;
mod http2;
pub(crate) mod tcp;
mod tunnel;

use crate::destinations::service;
use crate::harness::{Mesh, Proxy, Setup};
use crate::outbound::{VIRTUAL, WEB, client, through};
use std::net::SocketAddr;

/// A client's proxy and a server's in front of `app`.
async fn pair(app: SocketAddr) -> (Proxy, Proxy) {
    pair_with(app, &[]).await
}

/// As [`pair`], the server's with these settings.
async fn pair_with(app: SocketAddr, settings: &[(&str, &str)]) -> (Proxy, Proxy) {
    let mesh = Mesh::new().await;
    let server = mesh.proxy(Setup { app, settings, ..Setup::default() }).await;
    mesh.destinations.set_policy(VIRTUAL, service(WEB)).await;
    mesh.destinations.set_endpoints(WEB, vec![through(&server, app)]).await;
    (client(&mesh).await, server)
}
