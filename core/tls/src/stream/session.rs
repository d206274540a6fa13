//! rustls' side of a stream: one step at a time, whatever it wants next.

use super::incoming::Incoming;
use super::outgoing::{Outgoing, Refused};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};
use tokio::io::ReadBuf;

/// Bytes of plaintext in a full record.
const RECORD: usize = 16 << 10;
/// What TLS 1.3 adds to one: header, content type, tag.
const OVERHEAD: usize = 5 + 1 + 16;

/// One end of a connection.
pub(crate) enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more to do.
    Again,
    /// Nothing is left to do without more bytes.
    Starved,
    /// What was to be sent is encrypted.
    Sent,
    /// The peer will send nothing more.
    PeerClosed,
}

/// What is to be sent.
#[derive(Clone, Copy)]
pub(super) enum Send<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

/// Where plaintext goes.
pub(super) struct Sink<'a, 'b> {
    pub(super) buf: Option<&'a mut ReadBuf<'b>>,
    /// For what does not fit there.
    pub(super) rest: &'a mut Vec<u8>,
}

impl Sink<'_, '_> {
    fn put(&mut self, mut payload: &[u8]) {
        if let Some(buf) = &mut self.buf
            && self.rest.is_empty()
        {
            let fits = payload.len().min(buf.remaining());
            buf.put_slice(&payload[..fits]);
            payload = &payload[fits..];
        }
        self.rest.extend_from_slice(payload);
    }
}

impl Session {
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }

    /// Takes one step: deals with the next record or message, or encrypts.
    pub(super) fn advance(
        &mut self,
        incoming: &mut Incoming,
        outgoing: &mut Outgoing,
        sink: Sink<'_, '_>,
        send: Option<Send<'_>>,
    ) -> Result<Step, Error> {
        let (discard, step) = match self {
            Self::Client(c) => handle(c.process_tls_records(incoming.bytes()), outgoing, sink, send),
            Self::Server(c) => handle(c.process_tls_records(incoming.bytes()), outgoing, sink, send),
        };
        incoming.discard(discard);
        step
    }
}

fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    outgoing: &mut Outgoing,
    mut sink: Sink<'_, '_>,
    send: Option<Send<'_>>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                None => break Ok(Step::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink.put(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            outgoing.append(0, |out| {
                message.encode(out).map_err(|error| match error {
                    EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                        Refused::Short(required_size)
                    }
                    EncodeError::AlreadyEncoded => Refused::Failed,
                })
            });
            Ok(Step::Again)
        }
        // It goes out in order with everything else.
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let (size, Some(send)) = (send.as_ref().map_or(0, Send::size), send) else {
                return (discard, Ok(Step::Starved));
            };
            let encrypted = outgoing.append(size, |out| {
                let result = match send {
                    Send::Data(bytes) => traffic.encrypt(bytes, out),
                    Send::CloseNotify => traffic.queue_close_notify(out),
                };
                result.map_err(|error| match error {
                    EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                        Refused::Short(required_size)
                    }
                    EncryptError::EncryptExhausted => Refused::Failed,
                })
            });
            if encrypted { Ok(Step::Sent) } else { Err(Error::EncryptError) }
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        // Blocked, closed, or something that is not switched on.
        Ok(_) => Ok(Step::Starved),
    };
    (discard, step)
}

impl Send<'_> {
    fn size(&self) -> usize {
        let len = if let Self::Data(bytes) = self { bytes.len() } else { 2 };
        len + len.div_ceil(RECORD) * OVERHEAD
    }
}
