//! What comes on a tunnel, in either role: nothing panics, no more is given than came, and a stream that both sides have
//! ended leaves the next one where it begins.
#![no_main]

use futures::executor::block_on;
use futures::future::poll_fn;
use libfuzzer_sys::fuzz_target;
use mesh_net::{Refusal, TransportHeader, Tunnel};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Pieces of the input, to what is said nobody listens.
struct Wire<'a> {
    input: &'a [u8],
    piece: usize,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, input)) = bytes.split_first() else { return };
    let tunnel = Tunnel::new(Wire { input, piece: usize::from(how >> 2) + 1 });
    let given = if how & 1 == 0 { block_on(serve(tunnel, how & 2 == 0)) } else { block_on(ask(tunnel)) };
    assert!(given <= input.len());
});

/// Takes streams until something does not fit, and refuses every other one if it `refuses`.
async fn serve(mut tunnel: Tunnel<Wire<'_>>, refuses: bool) -> usize {
    let (mut given, mut turn) = (0, false);
    while tunnel.asked().await.unwrap_or(false) && tunnel.header().await.is_ok() {
        turn = !turn;
        if refuses && turn {
            tunnel.refuse(Refusal::Unreachable, "no").await.expect("nobody listens");
        } else if !carry(&mut tunnel, &mut given).await {
            break;
        }
        assert!(tunnel.is_at_rest());
    }
    given
}

/// Opens streams until something does not fit.
async fn ask(mut tunnel: Tunnel<Wire<'_>>) -> usize {
    let header = TransportHeader { port: 1, name: None, protocol: None };
    let mut given = 0;
    while tunnel.open(&header).await.is_ok() && carry(&mut tunnel, &mut given).await {
        assert!(tunnel.is_at_rest());
    }
    given
}

/// Reads a stream to its end and ends it; says whether it came to that.
async fn carry(tunnel: &mut Tunnel<Wire<'_>>, given: &mut usize) -> bool {
    let mut buf = [0; 64];
    loop {
        let mut read = ReadBuf::new(&mut buf);
        match poll_fn(|cx| Pin::new(&mut *tunnel).poll_read(cx, &mut read)).await {
            Ok(()) if read.filled().is_empty() => break,
            Ok(()) => *given += read.filled().len(),
            Err(_) => return false,
        }
    }
    poll_fn(|cx| Pin::new(&mut *tunnel).poll_shutdown(cx)).await.is_ok()
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = self.piece.min(buf.remaining()).min(self.input.len());
        let (piece, rest) = self.input.split_at(n);
        buf.put_slice(piece);
        self.input = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len().min(self.piece)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
