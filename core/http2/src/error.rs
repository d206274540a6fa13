//! What can go wrong with a stream or with the whole connection.

use std::fmt;
use std::io;
use std::sync::Arc;

/// An error code (RFC 9113, 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Its name in the RFC.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Nothing is wrong.
    NO_ERROR = 0x0;
    /// The protocol was broken in a way that has no code of its own.
    PROTOCOL_ERROR = 0x1;
    /// The sender failed.
    INTERNAL_ERROR = 0x2;
    /// More was sent than the window allows.
    FLOW_CONTROL_ERROR = 0x3;
    /// Settings were not acknowledged.
    SETTINGS_TIMEOUT = 0x4;
    /// A frame on a stream that was ended.
    STREAM_CLOSED = 0x5;
    /// A frame of a length that its type does not have.
    FRAME_SIZE_ERROR = 0x6;
    /// The stream was not looked at: the request may be repeated.
    REFUSED_STREAM = 0x7;
    /// The stream is no longer wanted.
    CANCEL = 0x8;
    /// A header block could not be decoded.
    COMPRESSION_ERROR = 0x9;
    /// The connection of a `CONNECT` failed.
    CONNECT_ERROR = 0xa;
    /// The peer makes too much work.
    ENHANCE_YOUR_CALM = 0xb;
    /// TLS is not good enough.
    INADEQUATE_SECURITY = 0xc;
    /// HTTP/1.1 is to be used.
    HTTP_1_1_REQUIRED = 0xd;
}

impl From<u32> for Code {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A failed stream or connection. All streams of a connection share it, so a copy costs next to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The stream was reset.
    #[error("stream reset by {}: {code}", side(*.remote))]
    Reset {
        /// Why.
        code: Code,
        /// Whether by the peer.
        remote: bool,
    },
    /// The connection was ended with an error.
    #[error("connection ended by {}: {code}{}{reason}", side(*.remote), if .reason.is_empty() { "" } else { ": " })]
    GoAway {
        /// Why.
        code: Code,
        /// Whether by the peer.
        remote: bool,
        /// What was wrong, where we know.
        reason: &'static str,
    },
    /// The peer has not looked at the request and will not: it may be repeated elsewhere.
    #[error("request was not processed: {0}")]
    Unprocessed(Code),
    /// The peer sends too many of these frames; the connection was ended.
    #[error("the peer sends too many {0} frames")]
    Flood(&'static str),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// A ping was not answered in time.
    #[error("the peer did not answer a ping in time")]
    KeepAlive,
    /// The connection was closed, or is being.
    #[error("connection closed")]
    Closed,
    /// What was to be sent cannot be: it is not a message of HTTP/2.
    #[error("not to be sent: {0}")]
    User(&'static str),
}

fn side(remote: bool) -> &'static str {
    if remote { "the peer" } else { "us" }
}

impl Error {
    /// The code that was sent or received.
    pub fn reason(&self) -> Option<Code> {
        match self {
            Self::Reset { code, .. } | Self::GoAway { code, .. } | Self::Unprocessed(code) => Some(*code),
            Self::Flood(_) => Some(Code::ENHANCE_YOUR_CALM),
            Self::Io(_) | Self::KeepAlive | Self::Closed | Self::User(_) => None,
        }
    }

    /// Whether one stream was reset, by either side.
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Reset { .. })
    }

    /// Whether the whole connection was ended with a code, by either side.
    pub fn is_go_away(&self) -> bool {
        matches!(self, Self::GoAway { .. } | Self::Flood(_))
    }

    /// Whether the peer said so.
    pub fn is_remote(&self) -> bool {
        matches!(
            self,
            Self::Reset { remote: true, .. } | Self::GoAway { remote: true, .. } | Self::Unprocessed(_)
        )
    }

    /// Whether the connection itself failed.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io(_) | Self::KeepAlive)
    }

    /// Whether the peer has not begun with the request, so that any request may be repeated (RFC 9113, 8.7).
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unprocessed(_) | Self::Reset { code: Code::REFUSED_STREAM, remote: true })
    }

    /// An error of the connection that is our judgement.
    pub(crate) fn connection(code: Code, reason: &'static str) -> Self {
        Self::GoAway { code, remote: false, reason }
    }

    /// The peer broke the protocol.
    pub(crate) fn protocol(reason: &'static str) -> Self {
        Self::connection(Code::PROTOCOL_ERROR, reason)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
