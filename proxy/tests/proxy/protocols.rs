//! What every protocol promises, through one proxy and through two.

mod broken;
mod early;
mod http1;
mod http2;
pub(crate) mod tcp;
mod tunnel;

use crate::destinations::service;
use crate::harness::Proxy;
use crate::outbound::{WEB, pair_of};
use std::net::SocketAddr;

/// A client's proxy and a server's in front of `app`.
async fn pair(app: SocketAddr) -> (Proxy, Proxy) {
    pair_with(app, &[]).await
}

/// As [`pair`], the server's with these settings.
async fn pair_with(app: SocketAddr, settings: &[(&str, &str)]) -> (Proxy, Proxy) {
    pair_of(service(WEB), app, settings).await
}
