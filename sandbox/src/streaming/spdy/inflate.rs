//! Reading deflate (RFC 1951) with a preset dictionary: what SPDY compresses its headers with.
//!
//! Small rather than fast: a port-forward has a few hundred bytes of headers.

/// How far back a match may reach.
const WINDOW: usize = 32 * 1024;
/// Most output accepted of one header block; a hostile one must not fill the memory.
const LIMIT: usize = 64 * 1024;

const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12_289, 16_385, 24_577,
];
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
/// In which order the lengths of the code-length code come.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A zlib stream that is flushed to a byte boundary after each piece.
pub(super) struct Inflater {
    history: Vec<u8>,
    has_begun: bool,
}

impl Inflater {
    /// A stream whose writer was given this dictionary.
    pub(super) fn new(dictionary: &[u8]) -> Self {
        Self { history: dictionary.to_vec(), has_begun: false }
    }

    /// The content of the next piece; `None` when it is not what a writer would send.
    pub(super) fn piece(&mut self, mut input: &[u8]) -> Option<Vec<u8>> {
        if !self.has_begun {
            let [method, flags, rest @ ..] = input else { return None };
            let has_dictionary = flags & 0x20 != 0;
            let header = u16::from_be_bytes([*method, *flags]);
            if method & 0x0f != 8 || header % 31 != 0 {
                return None;
            }
            input = if has_dictionary { rest.get(4..)? } else { rest };
            self.has_begun = true;
        }
        let start = self.history.len();
        let mut bits = Bits { input, at: 0, held: 0, count: 0 };
        while !bits.is_empty() {
            let is_last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => stored(&mut bits, &mut self.history)?,
                1 => {
                    let (literals, distances) = fixed_codes();
                    compressed(&mut bits, &mut self.history, start, &literals, &distances)?;
                }
                2 => {
                    let (literals, distances) = dynamic_codes(&mut bits)?;
                    compressed(&mut bits, &mut self.history, start, &literals, &distances)?;
                }
                _ => return None,
            }
            if self.history.len() - start > LIMIT {
                return None;
            }
            if is_last {
                break;
            }
        }
        let content = self.history[start..].to_vec();
        let surplus = self.history.len().saturating_sub(WINDOW);
        self.history.drain(..surplus);
        Some(content)
    }
}

struct Bits<'a> {
    input: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    fn is_empty(&self) -> bool {
        self.count == 0 && self.at == self.input.len()
    }

    fn take(&mut self, wanted: u32) -> Option<u32> {
        while self.count < wanted {
            self.held |= u32::from(*self.input.get(self.at)?) << self.count;
            self.at += 1;
            self.count += 8;
        }
        let value = self.held & ((1 << wanted) - 1);
        self.held >>= wanted;
        self.count -= wanted;
        Some(value)
    }
}

/// A canonical Huffman code: how many codes of each length, and the symbols in order of their codes.
struct Code {
    counts: [u16; 16],
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        for length in lengths {
            counts[usize::from(*length)] += 1;
        }
        counts[0] = 0;
        let mut symbols: Vec<u16> =
            (0..).zip(lengths).filter(|(_, length)| **length > 0).map(|(symbol, _)| symbol).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        Self { counts, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0_i32, 0_i32, 0_i32);
        for count in &self.counts[1..] {
            code |= i32::try_from(bits.take(1)?).ok()?;
            let count = i32::from(*count);
            if code - count < first {
                return self.symbols.get(usize::try_from(index + code - first).ok()?).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Option<()> {
    (bits.held, bits.count) = (0, 0);
    let header = bits.input.get(bits.at..bits.at + 4)?;
    let length = u16::from_le_bytes([header[0], header[1]]);
    if length != !u16::from_le_bytes([header[2], header[3]]) {
        return None;
    }
    let from = bits.at + 4;
    out.extend_from_slice(bits.input.get(from..from + usize::from(length))?);
    bits.at = from + usize::from(length);
    Some(())
}

fn fixed_codes() -> (Code, Code) {
    let mut lengths = [8_u8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    (Code::new(&lengths), Code::new(&[5; 30]))
}

fn dynamic_codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let given = bits.take(4)? as usize + 4;
    let mut lengths = [0_u8; 19];
    for position in &ORDER[..given] {
        lengths[*position] = bits.take(3)? as u8;
    }
    let code = Code::new(&lengths);
    let mut all: Vec<u8> = Vec::with_capacity(literals + distances);
    while all.len() < literals + distances {
        let symbol = code.read(bits)?;
        let (value, times) = match symbol {
            0..=15 => (symbol as u8, 1),
            16 => (*all.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            _ => (0, 11 + bits.take(7)?),
        };
        all.extend(std::iter::repeat_n(value, times as usize));
    }
    if all.len() > literals + distances {
        return None;
    }
    Some((Code::new(&all[..literals]), Code::new(&all[literals..])))
}

fn compressed(
    bits: &mut Bits<'_>,
    out: &mut Vec<u8>,
    start: usize,
    literals: &Code,
    distances: &Code,
) -> Option<()> {
    loop {
        let symbol = usize::from(literals.read(bits)?);
        match symbol {
            0..=255 => out.push(symbol as u8),
            256 => return Some(()),
            _ => {
                let index = symbol - 257;
                let extra = bits.take(u32::from(*LENGTH_EXTRA.get(index)?))? as usize;
                let length = usize::from(LENGTH_BASE[index]) + extra;
                let index = usize::from(distances.read(bits)?);
                let extra = bits.take(u32::from(*DISTANCE_EXTRA.get(index)?))? as usize;
                let from = out.len().checked_sub(usize::from(DISTANCE_BASE[index]) + extra)?;
                for offset in 0..length {
                    out.push(out[from + offset]);
                }
            }
        }
        if out.len() - start > LIMIT {
            return None;
        }
    }
}
