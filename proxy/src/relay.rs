//! Bytes between two connections. One that breaks off must not look like one that has ended: who reads to the end would take a
//! part for the whole.

use crate::http::guard::Guard;
use crate::metered::Metered;
use mesh_net::{CopyError, PrefixedIo, Tunnel, copy_bidirectional};
use mesh_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Copies both ways until both sides are done. Otherwise, when one has broken and where this is dropped, both break off.
///
/// # Errors
/// How copying failed first.
pub(crate) async fn relay<A, B>(first: &mut A, second: &mut B) -> Result<(), CopyError>
where
    A: AsyncRead + AsyncWrite + ResetOnClose + Unpin,
    B: AsyncRead + AsyncWrite + ResetOnClose + Unpin,
{
    let mut sides = Sides { first, second, done: false };
    let result = copy_bidirectional(sides.first, sides.second).await;
    sides.done = result.is_ok();
    result
}

struct Sides<'a, A: ResetOnClose, B: ResetOnClose> {
    first: &'a mut A,
    second: &'a mut B,
    done: bool,
}

impl<A: ResetOnClose, B: ResetOnClose> Drop for Sides<'_, A, B> {
    fn drop(&mut self) {
        if !self.done {
            self.first.reset_on_close(true);
            self.second.reset_on_close(true);
        }
    }
}

/// A connection that can break off, rather than end, when it is dropped.
pub trait ResetOnClose {
    /// Whether it does. TCP is reset for that; what the peer has not received by then is lost to it.
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

/// TLS tells an end from a break by itself, and loses nothing by it.
impl<I> ResetOnClose for TlsStream<I> {
    fn reset_on_close(&self, _: bool) {}
}

impl<I: ResetOnClose> ResetOnClose for Guard<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for Tunnel<I> {
    fn reset_on_close(&self, resets: bool) {
        self.get_ref().reset_on_close(resets);
    }
}

impl<I: ResetOnClose + ?Sized> ResetOnClose for Box<I> {
    fn reset_on_close(&self, resets: bool) {
        (**self).reset_on_close(resets);
    }
}

impl<I: ResetOnClose> ResetOnClose for &mut I {
    fn reset_on_close(&self, resets: bool) {
        (**self).reset_on_close(resets);
    }
}
