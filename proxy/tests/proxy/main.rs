//! Whole proxies on loopback: certified by an identity service, told by a policy service, serving real applications.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests too
#![allow(dead_code)] // some helpers serve the gateway's tests only

mod app;
mod control;
mod destinations;
mod harness;
mod identity;
mod inbound;
mod lifecycle;
mod outbound;
