//! The streams of a connection: slots that are used again, found by their number.

use crate::error::Error;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Context, Waker};

/// Where a stream is in [`Streams`].
pub(crate) type Key = usize;
/// A stream that waits, and its number: by its turn another one may be in its place.
pub(crate) type Turn = (Key, u32);

/// What is remembered of so many closed streams.
const CLOSED: usize = 64;
/// Small data is put together up to this length.
const PIECE: usize = 4 * 1024;
/// Data that comes is copied below this length: out of what was read, and with other data of its stream.
pub(crate) const LARGE: usize = 1024;

/// How far the peer is with its side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiving {
    #[default]
    Open,
    /// Its end came.
    Ended,
    /// Broken off.
    Failed,
}

/// One stream, for as long as it is open or someone has a handle of it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Whether the slot is in use.
    pub(crate) used: bool,
    /// Zero until it is opened.
    pub(crate) id: u32,
    /// Whether frames of this number come here.
    pub(crate) open: bool,
    pub(crate) receiving: Receiving,
    /// Whether our end was written, or never will be.
    pub(crate) send_ended: bool,
    /// Whether our end is told, though data may have to be written before.
    pub(crate) end_told: bool,
    /// Why it broke off.
    pub(crate) error: Option<Error>,
    /// Who has a handle: of what comes, and of what goes.
    pub(crate) reader: bool,
    pub(crate) writer: bool,

    /// What a client asks, until there is room for a stream.
    pub(crate) asked: Option<Request<()>>,
    /// Whether the answer has no body, whatever its length is said to be.
    pub(crate) bodiless: bool,
    /// Whether what follows the answer is no body.
    pub(crate) connect: bool,
    /// Whether the head of what comes is known, or was for a server.
    pub(crate) head_came: bool,
    /// Whether it is a request that nobody has taken.
    pub(crate) untaken: bool,
    /// Whether the end came in an empty frame of its own. Some gRPC servers do not take it with the head: it goes on as it
    /// came.
    pub(crate) ends_apart: bool,
    /// The size of the request's head.
    pub(crate) head_size: usize,
    pub(crate) informational: Vec<(StatusCode, HeaderMap)>,
    pub(crate) head: Option<(StatusCode, HeaderMap)>,

    /// What came and was not read yet: large data, and small data after it.
    pub(crate) received: VecDeque<Bytes>,
    pub(crate) tail: BytesMut,
    pub(crate) trailers_came: Option<Box<HeaderMap>>,
    /// What is left of the content-length.
    pub(crate) expected: Option<u64>,
    pub(crate) receive_window: i64,
    /// Read, and not told to the peer yet.
    pub(crate) consumed: u32,

    pub(crate) send_window: i64,
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) queued: usize,
    pub(crate) trailers: Option<Box<HeaderMap>>,
    /// Whether it waits for the connection's window.
    pub(crate) starving: bool,
    /// Whether it waits for its turn to be written.
    pub(crate) in_turn: bool,

    pub(crate) head_waker: Option<Waker>,
    pub(crate) data_waker: Option<Waker>,
    pub(crate) capacity_waker: Option<Waker>,
    pub(crate) reset_waker: Option<Waker>,
}

/// Wakes who waits.
pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Remembers who waits.
pub(crate) fn register(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) => known.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl Stream {
    /// Wakes all who wait.
    pub(crate) fn wake_all(&mut self) {
        wake(&mut self.head_waker);
        wake(&mut self.data_waker);
        wake(&mut self.capacity_waker);
        wake(&mut self.reset_waker);
    }

    /// Takes data that came. Small data is put together, so that it neither keeps large buffers alive nor costs more than
    /// its window.
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < LARGE {
            return self.push_copy(&data);
        }
        self.push_tail();
        self.received.push_back(data);
    }

    /// Takes a copy of data that came.
    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        if self.tail.len() + data.len() > PIECE {
            self.push_tail();
        }
        if self.tail.is_empty() {
            self.tail = BytesMut::from(data);
        } else {
            self.tail.extend_from_slice(data);
        }
    }

    fn push_tail(&mut self) {
        if !self.tail.is_empty() {
            self.received.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The next data that came.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let tail = |tail: &mut BytesMut| (!tail.is_empty()).then(|| std::mem::take(tail).freeze());
        self.received.pop_front().or_else(|| tail(&mut self.tail))
    }

    /// Counts data towards the content-length; whether it fits.
    pub(crate) fn count(&mut self, len: usize, ends: bool) -> bool {
        let Some(expected) = &mut self.expected else { return true };
        let left = expected.checked_sub(len as u64);
        *expected = left.unwrap_or(0);
        left.is_some_and(|left| left == 0 || !ends)
    }

    /// Whether all was read.
    pub(crate) fn is_read_up(&self) -> bool {
        self.received.is_empty() && self.tail.is_empty() && self.trailers_came.is_none()
    }

    /// Drops what came; how many bytes.
    pub(crate) fn discard(&mut self) -> usize {
        let len = self.received.iter().map(Bytes::len).sum::<usize>() + self.tail.len();
        self.received.clear();
        self.tail = BytesMut::new();
        self.trailers_came = None;
        len
    }

    /// Makes it a new one, but keeps small memory.
    fn clear(&mut self) {
        let (mut received, mut queue) = (std::mem::take(&mut self.received), std::mem::take(&mut self.queue));
        received.clear();
        queue.clear();
        received.shrink_to(8);
        queue.shrink_to(8);
        *self = Self { received, queue, ..Self::default() };
    }
}

/// How a stream that is closed was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The peer has ended its side.
    Ended,
    /// We have reset it: frames may be on their way.
    ResetHere,
    /// The peer has reset it.
    ResetThere,
    /// It is not remembered.
    Unknown,
}

/// Spreads the numbers of streams, which are every other number.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Stream>,
    free: Vec<Key>,
    ids: HashMap<u32, Key, BuildHasherDefault<IdHasher>>,
    /// The last ones that were closed, and how.
    closed: VecDeque<(u32, Closed)>,
    /// Of the heads of requests that are open, together.
    pub(crate) head_sizes: usize,
    /// Whether one that we have reset is no longer remembered.
    pub(crate) forgotten: bool,
}

impl Streams {
    /// A new slot.
    pub(crate) fn add(&mut self) -> Key {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            self.slots.len() - 1
        });
        self.slots[key].used = true;
        key
    }

    /// Frames of this number go to this slot.
    pub(crate) fn open(&mut self, key: Key, id: u32) {
        self.ids.insert(id, key);
        let stream = &mut self.slots[key];
        (stream.id, stream.open) = (id, true);
        self.head_sizes += stream.head_size;
    }

    /// The open stream of this number.
    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        self.ids.get(&id).copied()
    }

    /// Streams that are open.
    pub(crate) fn count(&self) -> usize {
        self.ids.len()
    }

    /// Whether no slot is in use.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Frames of this stream go nowhere any more.
    pub(crate) fn close(&mut self, key: Key, how: Closed) {
        let stream = &mut self.slots[key];
        if std::mem::take(&mut stream.open) {
            let id = stream.id;
            self.head_sizes -= stream.head_size;
            self.ids.remove(&id);
            self.remember(id, how);
        }
    }

    /// Remembers how a stream was closed.
    pub(crate) fn remember(&mut self, id: u32, how: Closed) {
        if self.closed.len() >= CLOSED
            && let Some((_, Closed::ResetHere)) = self.closed.pop_front()
        {
            self.forgotten = true;
        }
        self.closed.push_back((id, how));
    }

    /// How a stream was closed.
    pub(crate) fn closed(&self, id: u32) -> Closed {
        let found = self.closed.iter().rev().find(|(known, _)| *known == id);
        found.map_or(Closed::Unknown, |(_, how)| *how)
    }

    /// Lets a stream wait behind others. Those that are gone are dropped at their turn, or here once they are the most.
    pub(crate) fn wait(&self, key: Key, others: &mut VecDeque<Turn>) {
        if others.len() > 2 * self.slots.len() {
            others.retain(|(key, id)| self.slots[*key].id == *id);
        }
        others.push_back((key, self.slots[key].id));
    }

    /// The slot can be used again.
    pub(crate) fn free(&mut self, key: Key) {
        if self.slots[key].used {
            self.slots[key].clear();
            self.free.push(key);
        }
    }

    /// Whether there is memory to let go of.
    pub(crate) fn is_large(&self) -> bool {
        self.slots.len() > 1
    }

    /// All slots.
    pub(crate) fn keys(&self) -> std::ops::Range<Key> {
        0..self.slots.len()
    }

    /// Lets go of memory where no slot is in use, but for one.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && self.is_large() {
            self.slots.truncate(1);
            self.slots.shrink_to_fit();
            self.free = vec![0];
            self.ids.shrink_to(1);
            self.closed.shrink_to_fit();
        }
    }

    /// Bytes of slots, and of what is in them.
    pub(crate) fn memory(&self) -> usize {
        let of_slots = self.slots.iter().map(|stream| {
            let received: usize = stream.received.iter().map(Bytes::len).sum();
            received + stream.tail.capacity() + stream.queued
        });
        of_slots.sum::<usize>() + self.slots.capacity() * size_of::<Stream>()
    }
}

impl std::ops::Index<Key> for Streams {
    type Output = Stream;

    fn index(&self, key: Key) -> &Stream {
        &self.slots[key]
    }
}

impl std::ops::IndexMut<Key> for Streams {
    fn index_mut(&mut self, key: Key) -> &mut Stream {
        &mut self.slots[key]
    }
}
