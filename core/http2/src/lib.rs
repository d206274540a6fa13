//! HTTP/2 connections for a single thread (RFC 9113): frames, header compression, flow control, and limits on what a peer
//! can make us do.
//!
//! Everything about a connection is in one place that its driver and the handles of its streams share. The driver is one
//! future: it reads what there is, wakes the streams that it concerns, and writes what all of them have to say. Nothing is
//! locked, queued between tasks or spawned.
//!
//! - [`Server`] gives requests, each with its [`RecvBody`] and a [`Respond`].
//! - [`connect`] gives a [`Sender`] of requests, and a [`Connection`] to be driven; each request a [`Pending`] response and a
//!   [`SendBody`].

mod adapt;
mod body;
mod client;
mod driver;
mod error;
mod flood;
pub mod frame;
mod head;
pub mod hpack;
mod output;
mod peer;
mod receive;
mod send;
mod server;
mod settings;
mod state;
mod streams;

pub use body::{RecvBody, SendBody, SendError};
pub use client::{Answer, Connection, Pending, Sender, Unsent, connect};
pub use error::{Code, Error};
pub use hpack::Protocol;
pub use server::{Accepted, Respond, Server};
pub use settings::Settings;

#[cfg(test)]
mod tests;
