//! Reading header blocks.

use super::field::{Field, Name};
use super::statics::{ENTRIES, TEXT};
use super::{OVERHEAD, TABLE_SIZE, huffman};
use bytes::Bytes;
use std::collections::VecDeque;

/// What is kept of the room for decoded strings between blocks.
const SCRATCH: usize = 128;

/// A header block that cannot be decoded; the connection cannot go on (RFC 9113, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub(super) &'static str);

impl DecodeError {
    /// What is wrong.
    pub fn reason(self) -> &'static str {
        self.0
    }
}

const MISSING: DecodeError = DecodeError("no such field in the header table");

/// The reading side of header compression.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<Entry>,
    /// Of all entries (RFC 7541, 4.1).
    size: usize,
    /// What the peer has said that it uses.
    limit: usize,
    /// What it may use.
    max: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    field: Field,
    size: usize,
    /// The length of its name, which a malformed one does not tell.
    name: usize,
}

/// Where a name comes from, and its length.
struct Named {
    name: Name,
    len: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(TABLE_SIZE)
    }
}

impl Decoder {
    /// One whose table takes this much.
    pub fn new(max: usize) -> Self {
        Self { table: VecDeque::new(), size: 0, limit: max, max, scratch: Vec::new() }
    }

    /// Bytes held, about, beside those of entries.
    pub fn memory(&self) -> usize {
        self.scratch.capacity()
    }

    /// Reads a whole block. `take` gets the size of each field (RFC 9113, 6.5.2), and the field if it asks for it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(usize, &mut dyn FnMut() -> Field),
    ) -> Result<(), DecodeError> {
        let (mut rest, mut begun) = (block, false);
        while let Some(first) = rest.first().copied() {
            match first {
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    let (field, size) = self.indexed(index)?;
                    take(size, &mut || field.clone());
                }
                0x40.. => {
                    let named = self.name(&mut rest, 6)?;
                    let name = named.len;
                    let (field, size) = self.literal(named, &mut rest, false)?;
                    if size <= self.limit {
                        // The entry's bytes are its own, so it keeps no more alive.
                        let copy = field.clone();
                        take(size, &mut || copy.clone());
                    } else {
                        take(size, &mut || field.clone());
                    }
                    self.insert(Entry { field, size, name });
                }
                0x20.. => {
                    // Only where a block begins (RFC 7541, 4.2).
                    let size = integer(&mut rest, 5)?;
                    if begun || size > self.max {
                        return Err(DecodeError("bad size of the header table"));
                    }
                    self.limit = size;
                    self.evict(0);
                    continue;
                }
                _ => {
                    let named = self.name(&mut rest, 4)?;
                    let (field, size) = self.literal(named, &mut rest, first & 0x10 != 0)?;
                    let mut field = Some(field);
                    take(size, &mut || field.take().unwrap_or(Field::Malformed(Name::Malformed)));
                }
            }
            begun = true;
        }
        if self.scratch.capacity() > SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<(&Field, usize), DecodeError> {
        if let Some(entry) = index.checked_sub(1).and_then(|index| ENTRIES.get(index)) {
            return Ok((&entry.field, entry.size));
        }
        let entry = self.entry(index).ok_or(MISSING)?;
        Ok((&entry.field, entry.size))
    }

    /// What is at this index of the dynamic table.
    fn entry(&self, index: usize) -> Option<&Entry> {
        index.checked_sub(1 + TEXT.len()).and_then(|index| self.table.get(index))
    }

    fn name(&mut self, rest: &mut &[u8], prefix: u8) -> Result<Named, DecodeError> {
        let index = integer(rest, prefix)?;
        if index == 0 {
            let (bytes, coded) = string(rest)?;
            let bytes = if coded { decoded(bytes, &mut self.scratch)? } else { bytes };
            return Ok(Named { name: Name::parse(bytes), len: bytes.len() });
        }
        if let Some(entry) = ENTRIES.get(index - 1) {
            return Ok(Named { name: entry.name.clone(), len: TEXT[index - 1].0.len() });
        }
        let entry = self.entry(index).ok_or(MISSING)?;
        Ok(Named { name: entry.field.name(), len: entry.name })
    }

    fn literal(
        &mut self,
        named: Named,
        rest: &mut &[u8],
        sensitive: bool,
    ) -> Result<(Field, usize), DecodeError> {
        let (bytes, coded) = string(rest)?;
        let bytes = if coded { decoded(bytes, &mut self.scratch)? } else { bytes };
        let size = named.len + bytes.len() + OVERHEAD;
        Ok((Field::parse(named.name, Bytes::copy_from_slice(bytes), sensitive), size))
    }

    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size);
        if entry.size <= self.limit {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    /// Makes room for `size` more (RFC 7541, 4.4).
    fn evict(&mut self, size: usize) {
        while self.size + size > self.limit
            && let Some(entry) = self.table.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

/// An integer whose first byte has this many bits of it (RFC 7541, 5.1).
pub(super) fn integer(rest: &mut &[u8], prefix: u8) -> Result<usize, DecodeError> {
    const CUT: DecodeError = DecodeError("a header block is cut off");
    let mut next = || {
        let (byte, left) = rest.split_first().ok_or(CUT)?;
        *rest = left;
        Ok(usize::from(*byte))
    };
    let mask = (1 << prefix) - 1;
    let mut value = next()? & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError("an integer is too large"))
}

/// A string as it is written, and whether it is coded (RFC 7541, 5.2).
fn string<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], bool), DecodeError> {
    let coded = rest.first().is_some_and(|byte| byte & 0x80 != 0);
    let len = integer(rest, 7)?;
    let (bytes, left) = rest.split_at_checked(len).ok_or(DecodeError("a header block is cut off"))?;
    *rest = left;
    Ok((bytes, coded))
}

fn decoded<'a>(bytes: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], DecodeError> {
    scratch.clear();
    huffman::decode(bytes, scratch)?;
    Ok(scratch)
}

#[cfg(test)]
impl Decoder {
    pub(super) fn table_size(&self) -> usize {
        assert_eq!(self.size, self.table.iter().map(|entry| entry.size).sum::<usize>());
        self.size
    }
}
