//! A session over SPDY/3.1 (`v4.channel.k8s.io`): the client opens a stream for each of the process's, and one for the
//! `Status` that tells how it ended.

use std::time::Duration;

use serde_json::{Deserializer, Value};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{outcome, resized};
use crate::streaming::spdy::{self, Frame, Frames, Outlet, Refused};
use crate::streaming::{Reader, Session, Writer, is_set};

/// How long the client may take to open its streams, as the kubelet allows.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// How long the client may take to hang up once it has been sent everything.
const LINGER: Duration = Duration::from_secs(10);
/// Longest unfinished message about a terminal's size, in bytes.
const LONGEST_SIZE: usize = 4096;

/// The streams that a client has said it will open, beside the one for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Standard input.
    pub(super) stdin: bool,
    stdout: bool,
    stderr: bool,
    resize: bool,
}

impl Wanted {
    /// As a request's query says.
    pub(super) fn of(query: &[(String, String)]) -> Self {
        let is = |name| is_set(query, name);
        Self { stdin: is("stdin"), stdout: is("stdout"), stderr: is("stderr"), resize: is("tty") }
    }

    fn count(self) -> usize {
        1 + [self.stdin, self.stdout, self.stderr, self.resize].into_iter().filter(|is| *is).count()
    }
}

/// Numbers of the streams that were opened.
#[derive(Debug, Default)]
struct Opened {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
    newest: u32,
}

impl Opened {
    fn slot(&mut self, kind: &str) -> Option<&mut Option<u32>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }
}

/// Streams until the process has ended and the client has hung up.
pub(super) async fn stream<T>(io: T, session: Session, wanted: Wanted)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let (mut frames, outlet, written) = spdy::start(io);
    let mut early = Vec::new();
    let opened = timeout(OPEN_WITHIN, open(&mut frames, &outlet, wanted.count(), &mut early)).await;
    let Ok(Some(opened)) = opened else {
        tracing::debug!("the client has not opened its streams");
        return;
    };
    let (error, newest) = (opened.error, opened.newest);
    let out = tokio::spawn(give(stdout, opened.stdout, outlet.clone()));
    let err = stderr.map(|stderr| tokio::spawn(give(stderr, opened.stderr, outlet.clone())));
    let input = Input { stdin, resize, size: Vec::new(), opened };
    let mut reading = tokio::spawn(input.take_in(frames, early));
    let code = exit.await;
    // What the process wrote before it ended comes before the news of its end.
    let _ = out.await;
    if let Some(err) = err {
        let _ = err.await;
    }
    if let Some(error) = error {
        let _ = outlet.data(error, outcome(code).to_string().as_bytes(), true).await;
    }
    let _ = outlet.finish(newest).await;
    // Closing while something of the client's is unread would throw away what it has not read yet.
    let hung_up = timeout(LINGER, &mut reading).await.is_ok();
    if !hung_up {
        reading.abort();
    }
    drop(outlet);
    let _ = timeout(LINGER, written).await;
}

/// Accepts streams until there are as many as were announced. What arrives for one that is open already is kept.
async fn open<T: AsyncRead + AsyncWrite>(
    frames: &mut Frames<T>,
    outlet: &Outlet,
    wanted: usize,
    early: &mut Vec<Frame>,
) -> Option<Opened> {
    let mut opened = Opened::default();
    let mut count = 0;
    while count < wanted {
        match frames.next().await? {
            Frame::Open { stream, headers, .. } => {
                opened.newest = stream;
                let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("streamtype"));
                match kind.and_then(|(_, kind)| opened.slot(kind)) {
                    Some(slot @ None) => {
                        *slot = Some(stream);
                        count += 1;
                        frames.accept(stream).await.ok()?;
                    }
                    _ => outlet.reset(stream, Refused::Protocol).await.ok()?,
                }
            }
            frame if early.len() < 64 => early.push(frame),
            _ => return None,
        }
    }
    Some(opened)
}

async fn give(from: Reader, stream: Option<u32>, outlet: Outlet) {
    let given = match stream {
        Some(stream) => outlet.copy(stream, from).await.is_ok(),
        None => {
            let mut from = from;
            tokio::io::copy(&mut from, &mut tokio::io::sink()).await.is_ok()
        }
    };
    tracing::trace!(?stream, given, "output has ended");
}

/// What the client sends to the process.
struct Input {
    stdin: Option<Writer>,
    resize: Box<dyn Fn(u16, u16) + Send + Sync>,
    /// The beginning of a message about the terminal's size.
    size: Vec<u8>,
    opened: Opened,
}

impl Input {
    /// Until the client hangs up.
    async fn take_in<T: AsyncRead + AsyncWrite>(mut self, mut frames: Frames<T>, early: Vec<Frame>) {
        for frame in early {
            self.take(frame).await;
        }
        while let Some(frame) = frames.next().await {
            self.take(frame).await;
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Data { stream, data, is_last } if Some(stream) == self.opened.stdin => {
                if let Some(stdin) = &mut self.stdin
                    && (stdin.write_all(&data).await.is_err() || stdin.flush().await.is_err())
                {
                    // Nobody reads it any more.
                    self.stdin = None;
                }
                if is_last {
                    self.close().await;
                }
            }
            Frame::Data { stream, data, .. } if Some(stream) == self.opened.resize => self.size(&data),
            Frame::Reset { stream } if Some(stream) == self.opened.stdin => self.close().await,
            _ => {}
        }
    }

    async fn close(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.shutdown().await;
        }
    }

    fn size(&mut self, data: &[u8]) {
        self.size.extend_from_slice(data);
        let mut sizes = Deserializer::from_slice(&self.size).into_iter::<Value>();
        for (columns, rows) in sizes.by_ref().map_while(Result::ok).filter_map(|size| resized(&size)) {
            (self.resize)(columns, rows);
        }
        let read = sizes.byte_offset();
        self.size.drain(..read);
        if self.size.len() > LONGEST_SIZE {
            self.size.clear();
        }
    }
}

#[cfg(test)]
mod tests;
