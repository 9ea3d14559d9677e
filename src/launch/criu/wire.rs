//! Encodes and decodes CRIU's messages, with the part of protobuf that they use. A field is its number, then
//! a number or bytes.

/// A message to send: each method appends a field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    #[must_use]
    pub(crate) fn number(mut self, field: u32, value: impl Into<i64>) -> Self {
        self.put(u64::from(field) << 3 | VARINT);
        // A negative number takes ten bytes, because it is written as 64 bits.
        self.put(value.into() as u64);
        self
    }

    /// Appends a bool if it is on. Off is the default of every option.
    #[must_use]
    pub(crate) fn switch(self, field: u32, on: bool) -> Self {
        if on { self.number(field, 1) } else { self }
    }

    #[must_use]
    pub(crate) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.put(u64::from(field) << 3 | BYTES);
        self.put(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    #[must_use]
    pub(crate) fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    #[must_use]
    pub(crate) fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.0
    }

    fn put(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

/// A received message: each method looks a field up by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the number in a field; 0 if the message does not have it, as protobuf defines.
    pub(crate) fn number(self, field: u32) -> i64 {
        match self.find(field) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    /// Returns the bytes of a field; empty if the message does not have it.
    pub(crate) fn bytes(self, field: u32) -> &'a [u8] {
        match self.find(field) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    pub(crate) fn message(self, field: u32) -> Self {
        Self(self.bytes(field))
    }

    fn find(self, field: u32) -> Option<Value<'a>> {
        let mut rest = self.0;
        while !rest.is_empty() {
            let (key, value) = next_field(&mut rest)?;
            if key == u64::from(field) {
                return Some(value);
            }
        }
        None
    }
}

/// Takes the next field off `rest`. Returns `None` if the bytes are no message.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        VARINT => Value::Number(varint(rest)? as i64),
        BYTES => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(rest.split_off(..length)?)
        }
        // Fields of 8 and 4 bytes: CRIU's messages have none.
        1 => Value::Bytes(rest.split_off(..8)?),
        5 => Value::Bytes(rest.split_off(..4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_protobuf_says_and_reads_back() {
        // The two examples of protobuf's own documentation: 150, and "testing".
        assert_eq!(Message::default().number(1, 150).encoded(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").encoded(), b"\x12\x07testing");
        let inner = Message::default().number(2, -1).switch(3, true).switch(4, false);
        let outer = Message::default().message(49, &inner).text(1, "a");
        let read = Fields::new(outer.encoded());
        assert_eq!((read.bytes(1), read.message(49).number(2)), (&b"a"[..], -1));
        assert_eq!((read.message(49).number(3), read.message(49).number(4)), (1, 0));
    }

    #[test]
    fn what_is_no_message_has_no_fields() {
        for bytes in
            [&b"\x12\x07test"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x08", b"\x0f\x01"]
        {
            assert_eq!((Fields::new(bytes).number(1), Fields::new(bytes).bytes(2)), (0, &b""[..]));
        }
    }
}
