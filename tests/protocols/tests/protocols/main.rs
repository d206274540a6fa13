//! Protocols as other people's programs speak them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bed;
mod curl;
mod grpc;
mod h2spec;
mod nghttp;
mod websocket;
