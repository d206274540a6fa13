//! Interim responses (1xx, RFC 9110, 15.2) on their way to the client. They come while the answer to a request is waited
//! for, and whoever waits is polled by the server of the client's connection, so they are handed over in passing: no
//! request carries anything for them.

use super::orig_proto;
use crate::body::{Body, Frames};
use crate::error::Error;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// For one request; what a server says beyond that is dropped.
const MAX: usize = 32;

thread_local! {
    static TOLD: RefCell<Vec<Response<()>>> = const { RefCell::new(Vec::new()) };
}

/// Hands over what a server said before its response. `100 Continue` is left aside: every proxy says it for itself once it
/// wants the body.
pub fn tell(mut head: Response<()>) {
    if head.status() != StatusCode::CONTINUE {
        orig_proto::strip_connection_headers(head.headers_mut());
        TOLD.with_borrow_mut(|told| told.push(head));
    }
}

/// Whether a client waits with the body until it is told to continue (RFC 9110, 10.1.1).
pub fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body of a request whose client waits with it: told to continue once the body is wanted.
pub struct Expected {
    inner: Body,
    told: bool,
}

impl Expected {
    /// Nothing is told yet.
    pub fn new(inner: Body) -> Self {
        Self { inner, told: false }
    }
}

impl Frames for Expected {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !std::mem::replace(&mut self.told, true) {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            TOLD.with_borrow_mut(|told| told.push(head));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The interim responses to one request.
#[derive(Debug, Default)]
pub struct Interim {
    count: usize,
}

impl Interim {
    /// Waits for the answer with `poll`, and gives `to` what is said before it.
    pub fn during<T>(&mut self, poll: impl FnOnce() -> Poll<T>, mut to: impl FnMut(Response<()>)) -> Poll<T> {
        // What nobody took belongs to nobody.
        TOLD.with_borrow_mut(Vec::clear);
        let polled = poll();
        if TOLD.with_borrow(Vec::is_empty) {
            return polled;
        }
        for head in TOLD.take() {
            self.count += 1;
            if self.count <= MAX {
                to(head);
            }
        }
        polled
    }
}
