//! A TLS stream over rustls' connections without buffers. What is read from the socket comes in pieces of up to a quarter
//! of a megabyte, many records at once; what is written is gathered until it is flushed, until an answer is waited for, or
//! until there is much of it. A stream that has nothing to do has no buffers at all.

mod incoming;
mod outgoing;
mod session;

use crate::{Alpn, CertificateInfo, certificate_info};
use incoming::Incoming;
use mesh_types::{Identity, headers};
use outgoing::Outgoing;
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
pub(crate) use session::Session;
use session::{Send, Sink, Step};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Encrypted bytes that wait at most; more is taken only when they have gone.
const HIGH_WATER: usize = 64 << 10;
/// Plaintext encrypted at once: four records.
const MAX_WRITE: usize = 64 << 10;
/// Pieces from this length on have records of their own, which costs less than to copy them.
const LARGE: usize = 8 << 10;

/// One connection under TLS: bytes of a peer whose identity was verified, if it has shown one.
pub struct TlsStream<IO> {
    io: IO,
    session: Session,
    generation: u64,
    incoming: Incoming,
    /// Decrypted bytes that nobody had room for.
    plain: Vec<u8>,
    plain_taken: usize,
    outgoing: Outgoing,
    /// So many bytes of `outgoing` are in no hurry: tickets.
    lazy: usize,
    /// The peer has said that nothing more comes.
    peer_closed: bool,
    closing: bool,
    /// Nothing is read or written after this; rustls itself would go on after a record that is forged.
    failed: Option<rustls::Error>,
}

impl<IO: fmt::Debug> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("io", &self.io).finish_non_exhaustive()
    }
}

impl<IO> TlsStream<IO> {
    /// What is underneath.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// What is underneath.
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The verified identity of the peer, if it presented a certificate that names exactly one.
    pub fn peer_identity(&self) -> Option<Identity> {
        let end_entity = webpki::EndEntityCert::try_from(self.peer_leaf()?).ok()?;
        let mut names = end_entity.valid_dns_names();
        let first = names.next()?;
        if names.next().is_some() {
            return None;
        }
        first.parse().ok()
    }

    /// What the peer's certificate says.
    pub fn peer_info(&self) -> Option<CertificateInfo> {
        certificate_info(self.peer_leaf()?).ok()
    }

    /// What both sides agreed on.
    pub fn negotiated(&self) -> Alpn {
        match self.session.common().alpn_protocol() {
            Some(headers::TRANSPORT_ALPN) => Alpn::Transport,
            Some(headers::TUNNEL_ALPN) => Alpn::Tunnel,
            _ => Alpn::None,
        }
    }

    /// The generation of our credentials that the handshake was made with ([`crate::MeshTls::generation`]).
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.session.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn peer_leaf(&self) -> Option<&CertificateDer<'static>> {
        self.session.common().peer_certificates()?.first()
    }

    /// A full handshake verifies certificates; a session that is resumed must not outlive them.
    fn refuse_expired(&self) -> io::Result<()> {
        let Some(leaf) = self.peer_leaf().filter(|_| self.is_resumed()) else { return Ok(()) };
        let expired = certificate_info(leaf).is_ok_and(|info| info.not_after < SystemTime::now());
        if !expired {
            return Ok(());
        }
        Err(invalid(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Shakes hands. The last words of it may stay here until the first flush.
    pub(crate) async fn handshake(io: IO, session: Session, generation: u64) -> io::Result<Self> {
        let mut stream = Self {
            io,
            session,
            generation,
            incoming: Incoming::default(),
            plain: Vec::new(),
            plain_taken: 0,
            outgoing: Outgoing::default(),
            lazy: 0,
            peer_closed: false,
            closing: false,
            failed: None,
        };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        stream.refuse_expired()?;
        if let Session::Server(_) = stream.session {
            stream.lazy = stream.outgoing.len();
        }
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.advance(cx, None)? == Step::Again {
                continue;
            }
            if !self.session.common().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_drain(cx))?;
            if ready!(self.incoming.poll_fill(&mut self.io, cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
        }
    }

    /// Lets rustls do the next thing with what has come; plaintext goes to `buf` as far as it fits.
    fn advance(&mut self, cx: &mut Context<'_>, buf: Option<&mut ReadBuf<'_>>) -> io::Result<Step> {
        self.check()?;
        let sink = Sink { buf, rest: &mut self.plain };
        match self.session.advance(&mut self.incoming, &mut self.outgoing, sink, None) {
            Ok(Step::PeerClosed) => {
                self.peer_closed = true;
                Ok(Step::Again)
            }
            Ok(step) => Ok(step),
            Err(error) => {
                // The peer may learn why, if there is room for it.
                let sink = Sink { buf: None, rest: &mut Vec::new() };
                let _ = self.session.advance(&mut self.incoming, &mut self.outgoing, sink, None);
                let _ = self.poll_drain(cx);
                self.failed = Some(error.clone());
                Err(invalid(error))
            }
        }
    }

    /// Encrypts, having dealt with what came before.
    fn send(&mut self, what: Send<'_>) -> io::Result<()> {
        self.check()?;
        loop {
            let sink = Sink { buf: None, rest: &mut self.plain };
            match self.session.advance(&mut self.incoming, &mut self.outgoing, sink, Some(what)) {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Sent) => return Ok(()),
                Ok(Step::Starved) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(invalid(error));
                }
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        self.failed.clone().map_or(Ok(()), |error| Err(invalid(error)))
    }

    /// Writes what is encrypted.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.outgoing.len();
        let drained = self.outgoing.poll_drain(&mut self.io, cx);
        if self.outgoing.len() < before {
            // Tickets are the first to go; what is left of them is in as much of a hurry as what follows.
            self.lazy = 0;
        }
        drained
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.plain_taken..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.plain_taken += n;
        if self.plain_taken == self.plain.len() && n > 0 {
            self.plain = Vec::new();
            self.plain_taken = 0;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            this.give(buf);
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let read = buf.filled().len() > before;
            if !this.incoming.is_empty() || this.failed.is_some() {
                match this.advance(cx, Some(&mut *buf)) {
                    Ok(Step::Again) => continue,
                    // What came before the failure is given first.
                    Err(_) if read => return Poll::Ready(Ok(())),
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(_) => {}
                }
            }
            if read || this.peer_closed {
                return Poll::Ready(Ok(()));
            }
            match this.incoming.poll_fill(&mut this.io, cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(truncated())),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    // Who waits for an answer has asked.
                    if this.outgoing.len() > this.lazy
                        && let Poll::Ready(Err(error)) = this.poll_drain(cx)
                    {
                        return Poll::Ready(Err(error));
                    }
                    this.outgoing.rest();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// Small pieces go into one record; large ones are encrypted where they lie.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.len() >= HIGH_WATER {
            ready!(this.poll_drain(cx))?;
        }
        let (mut small, mut taken) = (Vec::new(), 0);
        let mut rest = bufs.iter().filter(|buf| !buf.is_empty()).peekable();
        while let Some(buf) = rest.next()
            && taken < MAX_WRITE
        {
            let piece = &buf[..buf.len().min(MAX_WRITE - taken)];
            taken += piece.len();
            if small.is_empty() && (piece.len() >= LARGE || rest.peek().is_none()) {
                this.send(Send::Data(piece))?;
            } else if piece.len() >= LARGE {
                this.send(Send::Data(&std::mem::take(&mut small)))?;
                this.send(Send::Data(piece))?;
            } else {
                small.extend_from_slice(piece);
            }
        }
        if !small.is_empty() {
            this.send(Send::Data(&small))?;
        }
        if this.outgoing.len() >= HIGH_WATER
            && let Poll::Ready(Err(error)) = this.poll_drain(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        this.outgoing.rest();
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.closing, true) {
            // Where nothing can be said any more, the socket says it.
            let _ = this.send(Send::CloseNotify);
        }
        ready!(this.poll_drain(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "peer closed the connection without TLS close_notify")
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
