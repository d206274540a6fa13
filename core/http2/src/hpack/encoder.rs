//! Writing header blocks. What repeats is indexed, so that values which are new each time do not push out the others;
//! secrets are never indexed (RFC 7541, 7.1).

use super::statics::TEXT;
use super::{OVERHEAD, TABLE_SIZE, huffman};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// Hashes of values that were sent once, of which the next is indexed.
const SEEN: usize = 64;
/// A cookie shorter than this may be guessed.
const SHORT_COOKIE: usize = 20;
pub(super) const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

/// Keys are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Same>>;

/// How a field is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Indexed at once: it is the same in most messages.
    Eager,
    /// Indexed when it comes again.
    Repeated,
    /// Not indexed: it is new in most messages.
    Plain,
    /// Never to be indexed by anyone on the way.
    Secret,
}

/// A name of the static table.
#[derive(Clone, Copy)]
struct Known {
    index: u8,
    policy: Policy,
}

static NAMES: LazyLock<ByHash<Known>> = LazyLock::new(|| {
    let mut names = ByHash::default();
    for (index, (name, _)) in (1..).zip(TEXT) {
        let policy = match name {
            ":authority" | "user-agent" | "content-type" | "accept" | "accept-encoding" | "server" => {
                Policy::Eager
            }
            "content-length" | "date" | "age" | "etag" | "last-modified" => Policy::Plain,
            "authorization" | "proxy-authorization" | "set-cookie" => Policy::Secret,
            _ => Policy::Repeated,
        };
        names.entry(hash(0, name.as_bytes())).or_insert(Known { index, policy });
    }
    names
});

/// The fields of the static table that have a value.
static FIELDS: LazyLock<ByHash<u8>> = LazyLock::new(|| {
    let indexed = (1..).zip(TEXT);
    indexed.map(|(index, (name, value))| (of_field(name, value.as_bytes()).1, index)).collect()
});

/// The writing side of header compression.
#[derive(Debug)]
pub struct Encoder {
    /// The oldest first.
    table: VecDeque<Entry>,
    size: usize,
    limit: usize,
    max: usize,
    /// Sizes to be told: the smallest since the last block, and the current one (RFC 7541, 4.2).
    resized: Option<(usize, usize)>,
    /// How many entries were ever evicted: the number of the oldest one.
    evicted: u64,
    /// Numbers of entries.
    fields: ByHash<u64>,
    names: ByHash<u64>,
    seen: [u32; SEEN],
}

#[derive(Debug)]
struct Entry {
    name_hash: u64,
    hash: u64,
    name: usize,
    /// Name and value.
    text: Box<[u8]>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(TABLE_SIZE)
    }
}

impl Encoder {
    /// One whose table takes at most this much, whatever the peer allows. It begins with what every peer allows.
    pub fn new(max: usize) -> Self {
        let limit = TABLE_SIZE.min(max);
        Self {
            table: VecDeque::new(),
            size: 0,
            limit,
            max,
            resized: (limit < TABLE_SIZE).then_some((limit, limit)),
            evicted: 0,
            fields: ByHash::default(),
            names: ByHash::default(),
            seen: [0; SEEN],
        }
    }

    /// The peer allows this much.
    pub fn resize(&mut self, allowed: usize) {
        let limit = allowed.min(self.max);
        if limit == self.limit {
            return;
        }
        let smallest = self.resized.map_or(limit, |(smallest, _)| smallest.min(limit));
        self.resized = Some((smallest, limit));
        self.limit = limit;
        self.evict(0);
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((smallest, limit)) = self.resized.take() {
            if smallest < limit {
                integer(smallest, 5, 0x20, out);
            }
            integer(limit, 5, 0x20, out);
        }
    }

    /// Writes a field or pseudo-header.
    pub fn field(&mut self, name: &str, value: &[u8], sensitive: bool, out: &mut Vec<u8>) {
        let (name_hash, hash) = of_field(name, value);
        let found = NAMES.get(&name_hash).filter(|known| TEXT[usize::from(known.index) - 1].0 == name);
        let known = found.map_or(0, |known| usize::from(known.index));
        let policy = match found {
            _ if sensitive => Policy::Secret,
            Some(known) if known.policy == Policy::Repeated => match name {
                "cookie" if value.len() < SHORT_COOKIE => Policy::Secret,
                _ => Policy::Repeated,
            },
            Some(known) => known.policy,
            None => Policy::Repeated,
        };
        if matches!(policy, Policy::Eager | Policy::Repeated) {
            if let Some(index) = self.find(hash, name, value) {
                return integer(index, 7, 0x80, out);
            }
            let fields = || FIELDS.get(&hash).map(|index| usize::from(*index));
            let matches = |index: &usize| {
                let (known_name, known_value) = TEXT[index - 1];
                known_name == name && known_value.as_bytes() == value
            };
            if known > 0
                && let Some(index) = fields().filter(matches)
            {
                return integer(index, 7, 0x80, out);
            }
        }
        let index = if known > 0 { known } else { self.find_name(name_hash, name) };
        let size = name.len() + value.len() + OVERHEAD;
        let indexed = size <= self.limit / 4 * 3
            && match policy {
                Policy::Eager => true,
                Policy::Repeated => self.came_before(hash),
                Policy::Plain | Policy::Secret => false,
            };
        match policy {
            _ if indexed => integer(index, 6, 0x40, out),
            Policy::Secret => integer(index, 4, 0x10, out),
            _ => integer(index, 4, 0, out),
        }
        if index == 0 {
            string(name.as_bytes(), out);
        }
        string(value, out);
        if indexed {
            self.insert(name, value, (name_hash, hash), size);
        }
    }

    /// Whether a value with this hash was sent not long ago.
    fn came_before(&mut self, hash: u64) -> bool {
        let mark = (hash >> 32) as u32 | 1;
        let place = &mut self.seen[hash as usize % SEEN];
        std::mem::replace(place, mark) == mark
    }

    fn find(&self, hash: u64, name: &str, value: &[u8]) -> Option<usize> {
        let number = *self.fields.get(&hash)?;
        let entry = self.table.get(usize::try_from(number.checked_sub(self.evicted)?).ok()?)?;
        let (entry_name, entry_value) = entry.text.split_at(entry.name);
        (entry_name == name.as_bytes() && entry_value == value).then(|| self.index(number))
    }

    /// Zero where there is none.
    fn find_name(&self, hash: u64, name: &str) -> usize {
        let found = || {
            let number = *self.names.get(&hash)?;
            let entry = self.table.get(usize::try_from(number.checked_sub(self.evicted)?).ok()?)?;
            (&entry.text[..entry.name] == name.as_bytes()).then(|| self.index(number))
        };
        found().unwrap_or(0)
    }

    /// The index of the entry with this number: the newest comes first.
    fn index(&self, number: u64) -> usize {
        let newer = self.evicted + self.table.len() as u64 - 1 - number;
        1 + TEXT.len() + newer as usize
    }

    fn insert(&mut self, name: &str, value: &[u8], (name_hash, hash): (u64, u64), size: usize) {
        self.evict(size);
        self.size += size;
        let number = self.evicted + self.table.len() as u64;
        let text = [name.as_bytes(), value].concat().into_boxed_slice();
        self.table.push_back(Entry { name_hash, hash, name: name.len(), text });
        self.fields.insert(hash, number);
        self.names.insert(name_hash, number);
    }

    fn evict(&mut self, size: usize) {
        while self.size + size > self.limit
            && let Some(entry) = self.table.pop_front()
        {
            self.size -= entry.text.len() + OVERHEAD;
            // A newer one of the same hash stays.
            for (map, hash) in [(&mut self.fields, entry.hash), (&mut self.names, entry.name_hash)] {
                if map.get(&hash) == Some(&self.evicted) {
                    map.remove(&hash);
                }
            }
            self.evicted += 1;
        }
    }
}

/// The hash of a name, and that of the field.
fn of_field(name: &str, value: &[u8]) -> (u64, u64) {
    let name = hash(0, name.as_bytes());
    (name, hash(name, value))
}

pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ bytes.len() as u64;
    let mut add = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    add(u64::from_le_bytes(last));
    hash ^ hash >> 32
}

/// An integer, in a first byte with `mark` and this many bits of it (RFC 7541, 5.1).
fn integer(value: usize, prefix: u8, mark: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        return out.push(mark | value as u8);
    }
    out.push(mark | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A string, coded where that is shorter (RFC 7541, 5.2).
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let coded = huffman::coded_len(bytes);
    if coded < bytes.len() {
        integer(coded, 7, 0x80, out);
        huffman::encode(bytes, out);
    } else {
        integer(bytes.len(), 7, 0, out);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
impl Encoder {
    pub(super) fn find_text(&self, name: &str) -> Option<&[u8]> {
        let found = self.table.iter().find(|entry| entry.text.starts_with(name.as_bytes()));
        found.map(|entry| &*entry.text)
    }
}
