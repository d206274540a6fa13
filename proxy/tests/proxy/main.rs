//! Whole proxies on loopback: certified by an identity service, told by a policy service, serving real applications.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "some helpers serve the gateway's tests only")]

mod accrual;
mod app;
mod control;
mod destinations;
mod failover;
mod harness;
mod identity;
mod inbound;
mod lifecycle;
mod lost;
mod observability;
mod outbound;
mod peers;
mod protocols;
mod resilience;
mod scripted;
mod tls;
mod waiting;
