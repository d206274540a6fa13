//! How a connection is treated.

use crate::frame::{DEFAULT_WINDOW, MAX_WINDOW};
use std::time::Duration;

/// How a connection is treated, by either role.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What a peer may send on a stream before we have read it.
    pub stream_window: u32,
    /// What it may send on all of them.
    pub connection_window: u32,
    /// Whether these windows grow while the peer fills them within a round trip.
    pub adaptive: bool,
    /// Streams that the peer may have open; what it opens beyond is refused.
    pub max_streams: u32,
    /// Bytes of a decoded header, with 32 for each field (RFC 9113, 6.5.2).
    pub max_header_list: u32,
    /// Whether a server takes `CONNECT` with a protocol (RFC 8441).
    pub connect_protocol: bool,
    /// Pings where nothing comes: after how long, for how long an answer is waited for, whether without streams too.
    pub keep_alive: Option<(Duration, Duration, bool)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: DEFAULT_WINDOW,
            connection_window: DEFAULT_WINDOW,
            adaptive: false,
            max_streams: 16 * 1024,
            max_header_list: 64 * 1024,
            connect_protocol: false,
            keep_alive: None,
        }
    }
}

impl Settings {
    /// Windows as they may be; that of the connection is never less than at first (RFC 9113, 6.9.2).
    pub(crate) fn allowed(mut self) -> Self {
        self.stream_window = self.stream_window.min(MAX_WINDOW);
        self.connection_window = self.connection_window.clamp(DEFAULT_WINDOW, MAX_WINDOW);
        self
    }
}
