//! Whole gateways on loopback: client proxy → gateway → server proxy → application.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the shared helpers serve the proxy's tests, too")]

#[path = "../../../proxy/tests/proxy/app.rs"]
mod app;
#[path = "../../../proxy/tests/proxy/control.rs"]
mod control;
mod cross;
#[path = "../../../proxy/tests/proxy/destinations.rs"]
mod destinations;
#[path = "../../../proxy/tests/proxy/harness.rs"]
mod harness;
