//! The protobuf wire format: numbered fields, read without a schema.

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    payload: Payload<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Payload<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The payload of a string, bytes or message.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        if let Payload::Bytes(bytes) = self.payload { Some(bytes) } else { None }
    }

    /// Whether it says nothing: zero or empty.
    pub(super) fn is_zero(&self) -> bool {
        match self.payload {
            Payload::Varint(number) | Payload::Fixed(number) => number == 0,
            Payload::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// The payload of an integer or bool.
    pub(super) fn varint(&self) -> Option<u64> {
        if let Payload::Varint(number) = self.payload { Some(number) } else { None }
    }

    /// The payload of a double.
    pub(super) fn fixed(&self) -> Option<u64> {
        if let Payload::Fixed(bits) = self.payload { Some(bits) } else { None }
    }
}

/// The fields of a message, in order; `None` when it is malformed.
pub(super) fn fields(mut rest: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut rest)?),
            1 => Payload::Fixed(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Payload::Bytes(take(&mut rest, length)?)
            }
            5 => Payload::Fixed(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        found.push(Field { number, payload });
    }
    Some(found)
}

/// Integers written one after the other.
pub(super) fn varints(mut rest: &[u8]) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        found.push(varint(&mut rest)?);
    }
    Some(found)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
