//! Connections whose client takes their end for the end of an answer, as one of HTTP/1.0 may have to. Where the answer breaks
//! off they must not end in order: the client would take a part for the whole.

use crate::http::guard::Guard;
use crate::metered::Metered;
use mesh_net::PrefixedIo;
use mesh_tls::TlsStream;
use tokio::net::TcpStream;

/// A connection that can end by a reset.
pub trait ResetOnClose {
    /// Whether the connection is reset when it is dropped; what the client has not received by then is lost to it.
    fn reset_on_close(&self, resets: bool);
}

impl ResetOnClose for TcpStream {
    fn reset_on_close(&self, resets: bool) {
        mesh_net::reset_on_close(self, resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for Metered<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for PrefixedIo<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for TlsStream<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for Guard<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for Box<I> {
    fn reset_on_close(&self, resets: bool) {
        (**self).reset_on_close(resets);
    }
}
