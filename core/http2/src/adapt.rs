//! Receive windows that grow with what the path holds: where a peer sends most of a window within one round trip, as an
//! own ping measures it, it would have sent more.

use crate::frame::{self, kind, setting};
use crate::state::State;
use std::time::{Duration, Instant};

/// The payload of the pings that measure.
pub(crate) const PING_MEASURE: [u8; 8] = *b"isthmusM";
/// What windows grow to: that of a stream, and that of the connection.
const MOST: (u32, u32) = (4 << 20, 16 << 20);
/// The time between measurements: at first, and at most, where nothing changes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A measurement, under way or waited for.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// Bytes that came since the ping was sent, while it is not answered.
    bytes: Option<usize>,
    /// When the next one may begin, and how long the one after that has to wait.
    next: Option<(Instant, Duration)>,
}

impl State {
    /// Counts data that came, and begins to measure where it is time.
    pub(crate) fn measure(&mut self, len: usize) {
        if let Some(bytes) = &mut self.measure.bytes {
            *bytes += len;
            return;
        }
        // Before that, windows are not what we think.
        let due = self.acknowledged && len > 0 && self.settings.stream_window < MOST.0;
        if due && self.measure.next.is_none_or(|(next, _)| Instant::now() >= next) {
            self.measure.bytes = Some(len);
            frame::put_ping(0, PING_MEASURE, self.out.buffer());
        }
    }

    /// The ping was answered: one round trip has passed.
    pub(crate) fn measured(&mut self, now: Instant) {
        let Some(bytes) = self.measure.bytes.take() else { return };
        let pause = self.measure.next.map_or(PAUSE.0, |(_, pause)| pause);
        let (stream, all) = (self.settings.stream_window, self.settings.connection_window);
        let full = |window: u32| bytes as u64 * 3 >= u64::from(window) * 2;
        if !full(stream.min(all)) {
            self.measure.next = Some((now + pause, (pause * 2).min(PAUSE.1)));
            return;
        }
        // While windows grow, the next data measures again.
        self.measure.next = Some((now, PAUSE.0));
        if full(all) || all < stream.saturating_mul(2) {
            let more = all.saturating_mul(2).min(MOST.1).max(all) - all;
            if more > 0 {
                self.settings.connection_window += more;
                self.receive_window += i64::from(more);
                frame::put_word(kind::WINDOW_UPDATE, 0, more, self.out.buffer());
            }
        }
        let more = stream.saturating_mul(2).min(MOST.0).max(stream) - stream;
        if more > 0 {
            self.settings.stream_window += more;
            self.window = self.settings.stream_window;
            for key in self.streams.keys() {
                self.streams[key].receive_window += i64::from(more);
            }
            frame::put_settings(&[(setting::INITIAL_WINDOW_SIZE, stream + more)], self.out.buffer());
        }
    }
}
