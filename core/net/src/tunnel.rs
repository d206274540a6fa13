//! One connection between proxies that carries one stream of bytes after the other, so that a connection of an application
//! costs no handshake of its own. There is one stream at a time: nobody waits behind another one, and the flow control is
//! that of TCP.
//!
//! The wire carries frames: a byte for the kind, three for the length (big-endian), the content.
//!
//! ```text
//! client                              server
//! OPEN: a transport header     →
//!                              ←      ACCEPT, or REFUSE: a byte for the reason, the reason in words
//! DATA … END                  ← →     DATA … END
//! ```
//!
//! After both ENDs, or a REFUSE, the connection is at rest and the client may open the next stream. It sends nothing between
//! OPEN and the answer: where the connection ends without one, no byte of an application was lost with it, and the client may
//! take another. So a server may close a connection at rest whenever it likes. A stream that breaks off takes its connection
//! with it.

use crate::{HeaderError, TransportHeader, is_quiet};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

const HEAD: usize = 4;
const DATA: u8 = 0;
const END: u8 = 1;
const OPEN: u8 = 2;
const ACCEPT: u8 = 3;
const REFUSE: u8 = 4;
/// The longest content, bytes.
const MAX_LEN: usize = (1 << 24) - 1;
/// Content up to this size goes out in one piece with its head.
const JOINED: usize = 1 << 10;
/// The longest words of a refusal, bytes.
const MAX_REASON: usize = 512;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The destination cannot be reached from there; another server may do better.
    Unreachable = 1,
    /// The client may not.
    Forbidden = 2,
}

/// Why a stream was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection failed or ended; nothing was lost with it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server said no; the connection is at rest.
    #[error("{reason}")]
    Refused {
        /// What that means.
        refusal: Refusal,
        /// The server's words.
        reason: String,
    },
}

/// A connection that carries streams. While it carries one, it is read and written as that stream.
#[derive(Debug)]
pub struct Tunnel<I> {
    io: I,
    /// A head to be written before anything else, and how much of it is.
    out: [u8; HEAD],
    out_done: usize,
    /// The head of the next frame, as far as it is read.
    head: [u8; HEAD],
    head_len: usize,
    /// Content to be read of a frame that has begun.
    incoming: usize,
    /// Content to be written of a frame that has begun.
    owed: usize,
    /// A client waits for an answer.
    offered: bool,
    /// Something is written that is not flushed.
    unflushed: bool,
    ended: Ended,
}

/// Which ways of a stream are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    incoming: bool,
    outgoing: bool,
}

impl Ended {
    const BOTH: Self = Self { incoming: true, outgoing: true };
    const NEITHER: Self = Self { incoming: false, outgoing: false };
}

impl<I> Tunnel<I> {
    /// A connection at rest.
    pub fn new(io: I) -> Self {
        Self {
            io,
            out: [0; HEAD],
            out_done: HEAD,
            head: [0; HEAD],
            head_len: 0,
            incoming: 0,
            owed: 0,
            offered: false,
            unflushed: false,
            ended: Ended::BOTH,
        }
    }

    /// The connection.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// Whether the next stream can be opened.
    pub fn is_at_rest(&self) -> bool {
        let between_frames =
            self.incoming == 0 && self.owed == 0 && self.head_len == 0 && self.out_done == HEAD;
        self.ended == Ended::BOTH && !self.offered && between_frames
    }

    /// Whether a client waits for an answer. The first reading or writing accepts its stream.
    pub fn is_offered(&self) -> bool {
        self.offered
    }

    fn begin(&mut self, offered: bool) {
        self.offered = offered;
        self.head_len = 0;
        self.ended = Ended::NEITHER;
    }

    fn queue(&mut self, kind: u8, len: usize) {
        self.out = head(kind, len);
        self.out_done = 0;
    }

    fn take_head(&mut self) -> (u8, usize) {
        let [kind, a, b, c] = self.head;
        self.head_len = 0;
        (kind, u32::from_be_bytes([0, a, b, c]) as usize)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tunnel<I> {
    /// Opens a stream on a connection at rest, as a client. Where this is dropped in the middle, so must the connection be.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&mut self, header: &TransportHeader) -> Result<(), OpenError> {
        self.begin(false);
        self.send(OPEN, &header.message()).await?;
        self.io.read_exact(&mut self.head).await?;
        match self.take_head() {
            (ACCEPT, 0) => Ok(()),
            (REFUSE, len @ 1..=MAX_REASON) => {
                let mut content = vec![0; len];
                self.io.read_exact(&mut content).await?;
                self.ended = Ended::BOTH;
                let refusal = if content[0] == Refusal::Forbidden as u8 {
                    Refusal::Forbidden
                } else {
                    Refusal::Unreachable
                };
                // It may come to logs.
                let reason = String::from_utf8_lossy(&content[1..]).replace(char::is_control, " ");
                Err(OpenError::Refused { refusal, reason })
            }
            (kind, len) => Err(unexpected(kind, len).into()),
        }
    }

    /// Whether nothing has come on a connection at rest, not even its end.
    pub fn is_quiet(&mut self) -> bool {
        is_quiet(&mut self.io)
    }

    /// Waits for a client to open the next stream; says whether it does, or has closed the connection. May be dropped and
    /// called again.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn asked(&mut self) -> io::Result<bool> {
        let n = self.io.read(&mut self.head[self.head_len..]).await?;
        self.head_len += n;
        Ok(n > 0)
    }

    /// Reads what the stream is for, after [`asked`](Self::asked); put a time limit around this.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub async fn header(&mut self) -> Result<TransportHeader, HeaderError> {
        self.io.read_exact(&mut self.head[self.head_len..]).await?;
        match self.take_head() {
            (OPEN, len) => {
                let header = TransportHeader::read_message(&mut self.io, len).await?;
                self.begin(true);
                Ok(header)
            }
            (kind, len) => Err(unexpected(kind, len).into()),
        }
    }

    /// Refuses the stream of a client that waits for an answer.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn refuse(&mut self, refusal: Refusal, reason: &str) -> io::Result<()> {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON - 1)];
        self.send(REFUSE, &[&[refusal as u8], reason.as_bytes()].concat()).await?;
        self.offered = false;
        self.ended = Ended::BOTH;
        Ok(())
    }

    /// Sends a frame in one piece.
    async fn send(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        self.io.write_all(&[&head(kind, content.len()), content].concat()).await?;
        self.io.flush().await
    }

    /// Closes a connection at rest.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn close(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    fn accept(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.queue(ACCEPT, 0);
        }
    }

    /// Writes the head that waits.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_done < HEAD {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.out_done..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_done += n;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.head_len < HEAD {
            let mut rest = ReadBuf::new(&mut self.head[self.head_len..]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest))?;
            match rest.filled().len() {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                n => self.head_len += n,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.accept();
        if this.out_done < HEAD
            && let Poll::Ready(Err(error)) = this.poll_sent(cx)
        {
            return Poll::Ready(Err(error));
        }
        while !this.ended.incoming && buf.remaining() > 0 {
            if this.incoming > 0 {
                let before = buf.filled().len();
                let mut content = (&mut this.io).take(this.incoming as u64);
                ready!(Pin::new(&mut content).poll_read(cx, buf))?;
                let n = buf.filled().len() - before;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                this.incoming -= n;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_head(cx))?;
            match this.take_head() {
                (DATA, len) => this.incoming = len,
                (END, 0) => this.ended.incoming = true,
                (kind, len) => return Poll::Ready(Err(unexpected(kind, len))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.ended.outgoing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.accept();
        ready!(this.poll_out(cx))?;
        if this.owed == 0 && buf.len() <= JOINED {
            let mut joined = [0; HEAD + JOINED];
            let frame = &mut joined[..HEAD + buf.len()];
            frame[..HEAD].copy_from_slice(&head(DATA, buf.len()));
            frame[HEAD..].copy_from_slice(buf);
            let n = ready!(Pin::new(&mut this.io).poll_write(cx, frame))?;
            this.unflushed = true;
            this.owed = buf.len() - n.saturating_sub(HEAD);
            if n > HEAD {
                return Poll::Ready(Ok(n - HEAD));
            }
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.queue(DATA, buf.len());
            this.out_done = n;
        } else if this.owed == 0 {
            this.owed = buf.len().min(MAX_LEN);
            this.queue(DATA, this.owed);
        }
        ready!(this.poll_out(cx))?;
        let content = &buf[..buf.len().min(this.owed)];
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, content))?;
        this.unflushed = true;
        this.owed -= n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    /// Ends the outgoing way of the stream; the connection stays open.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.accept();
        ready!(this.poll_out(cx))?;
        if this.owed > 0 {
            return Poll::Ready(Err(io::Error::other("a stream was ended in the middle of a frame")));
        }
        if !std::mem::replace(&mut this.ended.outgoing, true) {
            this.queue(END, 0);
        }
        this.poll_sent(cx)
    }
}

fn head(kind: u8, len: usize) -> [u8; HEAD] {
    // Longer content is never announced.
    let [_, a, b, c] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [kind, a, b, c]
}

fn unexpected(kind: u8, len: usize) -> io::Error {
    let message = format!("a frame of kind {kind} and {len} bytes does not belong here");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests;
