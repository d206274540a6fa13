//! What the peer says of itself, and what it has heard of us.

use crate::error::{Code, Error};
use crate::flood::Kind;
use crate::frame::{DEFAULT_WINDOW, Head, MAX_SIZE, MAX_WINDOW, flag, kind, setting};
use crate::state::State;

/// Settings in one frame; there are hardly ten that anyone knows (CVE-2020-11080).
const MAX_SETTINGS: usize = 32;

impl State {
    pub(crate) fn settings_came(&mut self, head: Head, payload: &[u8]) -> Result<(), Error> {
        if head.has(flag::ACK) {
            return self.settings_acknowledged();
        }
        self.spend(Kind::Settings)?;
        let settings = payload.as_chunks::<6>().0;
        if settings.len() > MAX_SETTINGS {
            return Err(Error::Flood("SETTINGS"));
        }
        let first = !std::mem::replace(&mut self.peer.known, true);
        if first {
            self.peer.max_streams = u32::MAX;
        }
        let window = self.peer.window;
        for [a, b, value @ ..] in settings {
            self.setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        self.windows_changed(i64::from(self.peer.window) - i64::from(window))?;
        Head { len: 0, kind: kind::SETTINGS, flags: flag::ACK, id: 0 }.put(self.out.buffer());
        self.touch();
        self.answered()
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Error> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
            setting::ENABLE_PUSH if value > 1 || (value == 1 && !self.server) => {
                return Err(Error::protocol("bad ENABLE_PUSH"));
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
            setting::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => return Err(too_large()),
            setting::INITIAL_WINDOW_SIZE => self.peer.window = value,
            setting::MAX_FRAME_SIZE => {
                self.peer.max_frame = value as usize;
                if !(MAX_SIZE..1 << 24).contains(&self.peer.max_frame) {
                    return Err(Error::protocol("bad MAX_FRAME_SIZE"));
                }
            }
            setting::ENABLE_CONNECT_PROTOCOL => {
                if value > 1 || (value == 0 && self.peer.connect_protocol) {
                    return Err(Error::protocol("bad ENABLE_CONNECT_PROTOCOL"));
                }
                self.peer.connect_protocol = value == 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The windows of all streams change with what new ones begin with (RFC 9113, 6.9.2).
    fn windows_changed(&mut self, more: i64) -> Result<(), Error> {
        if more == 0 {
            return Ok(());
        }
        for key in self.streams.keys() {
            let stream = &mut self.streams[key];
            if stream.open && !stream.send_ended {
                stream.send_window += more;
                if stream.send_window > i64::from(MAX_WINDOW) {
                    return Err(too_large());
                }
                self.window_opened(key);
            }
        }
        Ok(())
    }

    /// The peer uses our settings from now on.
    fn settings_acknowledged(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.acknowledged, true) {
            return Ok(());
        }
        let less = i64::from(self.window) - i64::from(self.settings.stream_window);
        if self.settings.stream_window < DEFAULT_WINDOW {
            self.window = self.settings.stream_window;
            for key in self.streams.keys() {
                if self.streams[key].open {
                    self.streams[key].receive_window -= less;
                    self.release(key, 0);
                }
            }
        }
        Ok(())
    }
}

fn too_large() -> Error {
    Error::connection(Code::FLOW_CONTROL_ERROR, "a window is larger than it may be")
}
