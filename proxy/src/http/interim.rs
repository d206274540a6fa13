//! Interim responses (1xx, RFC 9110, 15.2) on their way to the client. They come while the answer to a request is waited
//! for, and whoever waits is polled by the server of the client's connection, so they are handed over in passing: no
//! request carries anything for them.

use super::orig_proto;
use http::{Response, StatusCode};
use std::cell::RefCell;
use std::task::Poll;

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
