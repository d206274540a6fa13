//! One SPDY connection over any byte stream: frames in, frames out. Reading and writing are tasks of their own, so that a
//! peer which sends and receives much at once cannot stop itself.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Frame, Parser, Refused, Writer};

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
/// Frames waiting for a slow peer.
const BACKLOG: usize = 64;

/// What the client sends.
pub(in crate::streaming) struct Frames<T> {
    reader: ReadHalf<T>,
    buffer: BytesMut,
    parser: Parser,
    writer: Writer,
    outlet: Outlet,
    /// The stream opened last.
    newest: u32,
}

/// Sends frames. Cheap to clone; the connection is closed once every outlet is gone.
#[derive(Clone)]
pub(in crate::streaming) struct Outlet {
    frames: mpsc::Sender<Vec<u8>>,
}

/// Nobody listens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::streaming) struct Gone;

/// Begins to speak SPDY on an upgraded connection. The task ends when everything has been written.
pub(in crate::streaming) fn start<T>(io: T) -> (Frames<T>, Outlet, JoinHandle<()>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let outlet = Outlet { frames: sender };
    let written = tokio::spawn(write(writer, receiver));
    let frames = Frames {
        reader,
        buffer: BytesMut::with_capacity(CHUNK),
        parser: Parser::new(),
        writer: Writer::new(),
        outlet: outlet.clone(),
        newest: 0,
    };
    (frames, outlet, written)
}

async fn write<T: AsyncWrite>(mut to: WriteHalf<T>, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = frames.recv().await {
        if to.write_all(&bytes).await.is_err() || (frames.is_empty() && to.flush().await.is_err()) {
            return;
        }
    }
    // The other side may have hung up already.
    let _ = to.shutdown().await;
}

impl<T: AsyncRead + AsyncWrite> Frames<T> {
    /// The next frame that calls for something. Pings are answered here; `None` when the client is done, has gone, or
    /// makes no sense, of which it is told.
    pub(in crate::streaming) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.parser.next() {
                // A ping of the server's own would have an even number.
                Ok(Some(Frame::Ping { id })) => {
                    if id % 2 == 1 {
                        self.outlet.send(Writer::pong(id)).await.ok()?;
                    }
                }
                Ok(Some(Frame::Open { stream, .. })) if stream % 2 == 0 || stream <= self.newest => {
                    return self.give_up().await;
                }
                Ok(Some(Frame::GoAway)) => return None,
                Ok(Some(Frame::Other)) => {}
                Ok(Some(frame)) => {
                    if let Frame::Open { stream, .. } = frame {
                        self.newest = stream;
                    }
                    return Some(frame);
                }
                Ok(None) => {
                    self.buffer.clear();
                    let length = self.reader.read_buf(&mut self.buffer).await.ok()?;
                    if length == 0 {
                        return None;
                    }
                    self.parser.feed(&self.buffer);
                }
                Err(_) => return self.give_up().await,
            }
        }
    }

    /// Accepts a stream just opened.
    pub(in crate::streaming) async fn accept(&mut self, stream: u32) -> Result<(), Gone> {
        self.outlet.send(self.writer.accept(stream)).await
    }

    async fn give_up(&mut self) -> Option<Frame> {
        // It is over either way.
        let _ = self.outlet.send(Writer::go_away(self.newest, true)).await;
        None
    }
}

impl Outlet {
    async fn send(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.frames.send(bytes).await.map_err(|_| Gone)
    }

    /// Sends bytes of a stream, perhaps its last.
    pub(in crate::streaming) async fn data(
        &self,
        stream: u32,
        data: &[u8],
        is_last: bool,
    ) -> Result<(), Gone> {
        self.send(Writer::data(stream, data, is_last)).await
    }

    /// Refuses a stream, or ends it abruptly.
    pub(in crate::streaming) async fn reset(&self, stream: u32, why: Refused) -> Result<(), Gone> {
        self.send(Writer::reset(stream, why)).await
    }

    /// Tells that everything has been sent.
    pub(in crate::streaming) async fn finish(&self, newest: u32) -> Result<(), Gone> {
        self.send(Writer::go_away(newest, false)).await
    }

    /// Sends all that a reader gives, then ends the stream. A reader that fails has ended: so does a terminal whose
    /// process has gone.
    pub(in crate::streaming) async fn copy(
        &self,
        stream: u32,
        mut from: impl AsyncRead + Unpin,
    ) -> Result<(), Gone> {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.data(stream, &buffer[..length], false).await?;
        }
        self.data(stream, &[], true).await
    }
}

#[cfg(test)]
mod tests;
