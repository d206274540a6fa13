//! Whole gateways on loopback: client proxy → gateway → server proxy → application.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests too
#![allow(dead_code)] // the shared helpers serve the proxy's tests, too

#[path = "../../../proxy/tests/proxy/app.rs"]
mod app;
#[path = "../../../proxy/tests/proxy/control.rs"]
mod control;
mod cross;
#[path = "../../../proxy/tests/proxy/destinations.rs"]
mod destinations;
#[path = "../../../proxy/tests/proxy/harness.rs"]
mod harness;
