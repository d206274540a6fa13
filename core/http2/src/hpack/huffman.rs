//! The code of strings (RFC 7541, appendix B). It is canonical, so the lengths of the codes say all.

use super::decoder::DecodeError;

/// The length of the code of each byte, and of the end.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbol that ends strings and that no string may hold.
const END: u16 = 256;
const LONGEST: usize = 30;
/// Codes up to this length are found by one look.
const FAST: usize = 9;

/// All that follows from the lengths.
struct Tables {
    /// The code of each symbol.
    codes: [u32; 257],
    /// By the next bits: symbol and length; zero where the code is longer.
    fast: [u16; 1 << FAST],
    /// Symbols in the order of their codes.
    sorted: [u16; 257],
    /// For each length: the first code, how many there are, and where they begin in `sorted`.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [u16; LONGEST + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut t = Tables {
        codes: [0; 257],
        fast: [0; 1 << FAST],
        sorted: [0; 257],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
    };
    let (mut code, mut placed, mut len) = (0u32, 0, 1);
    while len <= LONGEST {
        t.first[len] = code;
        t.start[len] = placed as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                t.codes[symbol] = code;
                t.sorted[placed] = symbol as u16;
                if len <= FAST {
                    let mut at = (code as usize) << (FAST - len);
                    let end = (code as usize + 1) << (FAST - len);
                    while at < end {
                        t.fast[at] = (symbol as u16) << 4 | len as u16;
                        at += 1;
                    }
                }
                placed += 1;
                code += 1;
                t.count[len] += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        len += 1;
    }
    t
}

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.reserve(coded.len() * 8 / 5 + 1);
    // The next bits, from the highest on; below what was read there are ones, as padding has them.
    let (mut bits, mut len, mut rest) = (u64::MAX, 0usize, coded);
    loop {
        while len <= 56
            && let Some((byte, left)) = rest.split_first()
        {
            let shift = 56 - len;
            bits &= !(0xff << shift) | u64::from(*byte) << shift;
            len += 8;
            rest = left;
        }
        let known = TABLES.fast[(bits >> (64 - FAST)) as usize];
        let (symbol, taken) = if known == 0 { slow(bits) } else { (known >> 4, usize::from(known & 15)) };
        if taken > len {
            // What is left is no code: it must be padding (RFC 7541, 5.2).
            let padding = len < 8 && bits == u64::MAX;
            return if padding { Ok(()) } else { Err(DecodeError("bad padding of a string")) };
        }
        let Ok(byte) = u8::try_from(symbol) else {
            return Err(DecodeError("the end symbol in a string"));
        };
        out.push(byte);
        bits = bits << taken | ((1 << taken) - 1);
        len -= taken;
    }
}

/// The next symbol, where its code is long.
#[cold]
fn slow(bits: u64) -> (u16, usize) {
    for len in FAST + 1..=LONGEST {
        let code = (bits >> (64 - len)) as u32;
        let at = code.wrapping_sub(TABLES.first[len]);
        if code >= TABLES.first[len] && at < TABLES.count[len] {
            return (TABLES.sorted[usize::from(TABLES.start[len]) + at as usize], len);
        }
    }
    (END, LONGEST)
}

/// How long these bytes are when coded.
pub(super) fn coded_len(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends these bytes, coded.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut len) = (0u64, 0u32);
    for byte in bytes {
        let symbol = usize::from(*byte);
        bits = bits << LENGTHS[symbol] | u64::from(TABLES.codes[symbol]);
        len += u32::from(LENGTHS[symbol]);
        if len >= 32 {
            len -= 32;
            out.extend_from_slice(&((bits >> len) as u32).to_be_bytes());
        }
    }
    while len >= 8 {
        len -= 8;
        out.push((bits >> len) as u8);
    }
    if len > 0 {
        out.push((bits << (8 - len)) as u8 | (0xff >> len));
    }
}
