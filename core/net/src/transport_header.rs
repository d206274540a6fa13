//! The header that begins a direct connection between proxies: which port, for a gateway which name, and which protocol
//! is inside. Wire form: `transport.l5d.io/v1\r\n\r\n`, a big-endian u32 length, a protobuf `Header`.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";
/// A name has at most 253 bytes and may end in a dot; the rest leaves room for fields we do not know.
const MAX_LEN: usize = 4096;
const MAX_NAME: usize = 253;

/// What a client says about the connection it opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportHeader {
    /// The port the connection is for.
    pub port: u16,
    /// The service it is for, where the server is a gateway.
    pub name: Option<String>,
    /// The protocol inside; nothing means opaque.
    pub protocol: Option<SessionProtocol>,
}

/// The protocol inside a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionProtocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why a header is refused.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Reading failed, or the connection ended.
    #[error("reading the transport header: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are something else.
    #[error("the connection does not begin with a transport header")]
    Preface,
    /// Longer than any header.
    #[error("the transport header has {0} bytes, at most {MAX_LEN} are taken")]
    Length(usize),
    /// Not the message it should be.
    #[error("the transport header is not a valid message: {0}")]
    Message(#[from] prost::DecodeError),
    /// Not a port.
    #[error("the transport header names port {0}")]
    Port(i32),
    /// Not a name.
    #[error("the transport header has a name of {0} bytes, at most {MAX_NAME} are taken")]
    Name(usize),
}

mod wire {
    /// `transport.l5d.io.Header`.
    #[derive(Clone, PartialEq, ::prost::Message)]
    pub(super) struct Header {
        #[prost(int32, tag = "1")]
        pub(super) port: i32,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(message, optional, tag = "3")]
        pub(super) session_protocol: Option<SessionProtocol>,
    }

    /// `transport.l5d.io.SessionProtocol`.
    #[derive(Clone, Copy, PartialEq, ::prost::Message)]
    pub(super) struct SessionProtocol {
        #[prost(oneof = "Kind", tags = "1, 2")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, Copy, PartialEq, ::prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Http1(Empty),
        #[prost(message, tag = "2")]
        Http2(Empty),
    }

    #[derive(Clone, Copy, PartialEq, ::prost::Message)]
    pub(super) struct Empty {}
}

impl TransportHeader {
    /// The bytes that go before everything else.
    pub fn encode(&self) -> Bytes {
        let body = self.message();
        let mut out = BytesMut::with_capacity(PREFACE.len() + 4 + body.len());
        out.put_slice(PREFACE);
        // A header is a few hundred bytes.
        out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        out.put_slice(&body);
        out.freeze()
    }

    /// The message alone.
    pub(crate) fn message(&self) -> Vec<u8> {
        let kind = self.protocol.map(|protocol| match protocol {
            SessionProtocol::Http1 => wire::Kind::Http1(wire::Empty {}),
            SessionProtocol::Http2 => wire::Kind::Http2(wire::Empty {}),
        });
        let header = wire::Header {
            port: i32::from(self.port),
            name: self.name.clone().unwrap_or_default(),
            session_protocol: kind.map(|kind| wire::SessionProtocol { kind: Some(kind) }),
        };
        header.encode_to_vec()
    }

    /// Reads a header and not one byte more.
    ///
    /// # Errors
    /// [`HeaderError`]; put a time limit around this.
    pub async fn read<I: AsyncRead + Unpin>(io: &mut I) -> Result<Self, HeaderError> {
        let mut preface = [0; PREFACE.len()];
        io.read_exact(&mut preface).await?;
        if preface != PREFACE {
            return Err(HeaderError::Preface);
        }
        let len = io.read_u32().await? as usize;
        Self::read_message(io, len).await
    }

    /// Reads a message of so many bytes.
    pub(crate) async fn read_message<I: AsyncRead + Unpin>(
        io: &mut I,
        len: usize,
    ) -> Result<Self, HeaderError> {
        if len > MAX_LEN {
            return Err(HeaderError::Length(len));
        }
        let mut body = vec![0; len];
        io.read_exact(&mut body).await?;
        Self::decode(&body)
    }

    fn decode(body: &[u8]) -> Result<Self, HeaderError> {
        let header = wire::Header::decode(body)?;
        let port =
            u16::try_from(header.port).ok().filter(|p| *p > 0).ok_or(HeaderError::Port(header.port))?;
        let protocol = header.session_protocol.and_then(|p| p.kind).map(|kind| match kind {
            wire::Kind::Http1(_) => SessionProtocol::Http1,
            wire::Kind::Http2(_) => SessionProtocol::Http2,
        });
        let name = header.name.trim_end_matches('.').to_ascii_lowercase();
        if name.len() > MAX_NAME {
            return Err(HeaderError::Name(name.len()));
        }
        Ok(Self { port, name: (!name.is_empty()).then_some(name), protocol })
    }
}

#[cfg(test)]
mod tests;
