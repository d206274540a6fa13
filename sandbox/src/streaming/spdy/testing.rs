//! A client's side of SPDY, for tests.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

use super::{HEADER, Writer, control};

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::streaming) enum Said {
    /// A stream is accepted.
    Accepted(u32),
    /// Bytes of a stream, perhaps its last.
    Data(u32, Vec<u8>, bool),
    /// A stream was reset, with the status.
    Reset(u32, u8),
    /// A ping came back.
    Pong(u32),
    /// It is over; because of a mistake?
    GoAway(bool),
}

/// A client.
pub(in crate::streaming) struct Client {
    io: DuplexStream,
    has_begun: bool,
}

impl Client {
    /// A client, and the server's end.
    pub(in crate::streaming) fn new() -> (Self, DuplexStream) {
        let (io, theirs) = tokio::io::duplex(1024);
        (Self { io, has_begun: false }, theirs)
    }

    /// Sends raw bytes.
    pub(in crate::streaming) async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// Opens a stream.
    pub(in crate::streaming) async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend((text.len() as u32).to_be_bytes());
            block.extend(text.as_bytes());
        }
        let mut content = stream.to_be_bytes().to_vec();
        content.extend([0; 6]);
        if !std::mem::replace(&mut self.has_begun, true) {
            content.extend([0x78, 0x01]);
        }
        let length = block.len() as u16;
        content.push(0);
        content.extend(length.to_le_bytes());
        content.extend((!length).to_le_bytes());
        content.extend(block);
        content.extend([0x00, 0, 0, !0, !0]);
        self.send(&control(1, 0, &content)).await;
    }

    /// Sends bytes of a stream.
    pub(in crate::streaming) async fn data(&mut self, stream: u32, data: &[u8], is_last: bool) {
        self.send(&Writer::data(stream, data, is_last)).await;
    }

    /// The next frame of the server's; `None` when it has closed.
    pub(in crate::streaming) async fn said(&mut self) -> Option<Said> {
        said(&mut self.io).await
    }

    /// All that is still said, with a stream's data put together.
    pub(in crate::streaming) async fn rest(&mut self) -> Vec<Said> {
        let mut all: Vec<Said> = Vec::new();
        while let Some(next) = self.said().await {
            match (all.last_mut(), next) {
                (Some(Said::Data(stream, held, last)), Said::Data(same, data, is_last))
                    if *stream == same =>
                {
                    held.extend(data);
                    *last = is_last;
                }
                (_, next) => all.push(next),
            }
        }
        all
    }

    /// Both halves, for who sends and receives at once.
    pub(in crate::streaming) fn split(
        self,
    ) -> (tokio::io::ReadHalf<DuplexStream>, tokio::io::WriteHalf<DuplexStream>) {
        tokio::io::split(self.io)
    }

    /// Hangs up.
    pub(in crate::streaming) async fn hang_up(&mut self) {
        self.io.shutdown().await.unwrap();
    }
}

/// The next frame read.
pub(in crate::streaming) async fn said(from: &mut (impl AsyncRead + Unpin)) -> Option<Said> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).await.ok()?;
    let [a, b, c, d, flags, length @ ..] = header;
    let mut content = vec![0; u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize];
    from.read_exact(&mut content).await.unwrap();
    let number = |at: usize| u32::from_be_bytes(content[at..at + 4].try_into().unwrap());
    Some(match (a & 0x80 != 0, d) {
        (false, _) => Said::Data(u32::from_be_bytes([a, b, c, d]), content, flags & 1 != 0),
        (true, 2) => Said::Accepted(number(0)),
        (true, 3) => Said::Reset(number(0), number(4) as u8),
        (true, 6) => Said::Pong(number(0)),
        (true, 7) => Said::GoAway(number(4) != 0),
        other => panic!("an unexpected frame {other:?}"),
    })
}

/// Writes bytes of a stream.
pub(in crate::streaming) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    stream: u32,
    data: &[u8],
    is_last: bool,
) {
    to.write_all(&Writer::data(stream, data, is_last)).await.unwrap();
}
