//! Connections before they have a meaning: sockets and their options, the original destination of a redirected
//! connection, what protocol its first bytes speak, the transport header, tunnels, and copying bytes both ways.

mod copy;
mod detect;
mod files;
mod original_dst;
mod prefixed;
mod socket;
mod transport_header;
mod tunnel;

pub use copy::{CopyError, End, copy_bidirectional};
pub use detect::{ClientHello, Http, Parse, Sniffed, client_hello, http, sniff};
pub use files::{raise_open_files, shortage};
pub use original_dst::OriginalDst;
pub use prefixed::PrefixedIo;
pub use socket::{SocketOptions, connect, is_own_address, is_quiet, listen, normalize, reset_on_close};
pub use transport_header::{HeaderError, SessionProtocol, TransportHeader};
pub use tunnel::{OpenError, Refusal, Tunnel};
