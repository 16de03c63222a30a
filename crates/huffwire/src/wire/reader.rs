//! A cursor over untrusted bytes. Every read is checked; nothing is allocated on a claim.

use crate::error::{Error, Result};

/// Reads fields one after the other; all integers are little-endian.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// `what` names the structure in errors; offsets count from the start of `bytes`.
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, offset: 0 }
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Everything not read yet.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.offset..];
        match rest.get(..count) {
            Some(taken) => {
                self.offset += count;
                Ok(taken)
            }
            None => Err(Error::Truncated {
                what: self.what,
                offset: self.offset,
                needed: count,
                available: rest.len(),
            }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A LEB128 number: 7 bits a byte, low bits first, at most 64 bits, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let lost = shift == 63 && bits > 1;
            let padded = shift > 0 && byte == 0;
            if lost || padded {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::malformed(self.what, start, "a variable-length number that is not canonical"))
    }

    /// A varint that is a length or count in memory.
    pub(crate) fn size(&mut self) -> Result<usize> {
        let start = self.offset;
        usize::try_from(self.varint()?)
            .map_err(|_| Error::malformed(self.what, start, "a size beyond this machine's memory"))
    }

    /// A varint length, and as many bytes of UTF-8.
    pub(crate) fn string(&mut self) -> Result<&'a str> {
        let count = self.size()?;
        let start = self.offset;
        std::str::from_utf8(self.take(count)?)
            .map_err(|_| Error::malformed(self.what, start, "a name that is not UTF-8"))
    }

    /// An error at the current position.
    pub(crate) fn malformed(&self, detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        Error::malformed(self.what, self.offset, detail)
    }

    /// Succeeds when everything was read.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.malformed(format!("{left} bytes too many"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_varint;

    #[test]
    fn varints_round_trip_and_only_their_shortest_form_is_read() {
        for value in [0, 1, 127, 128, 300, 1 << 40, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Reader::new("a test", &bytes).varint(), Ok(value));
        }
        assert!(Reader::new("a test", &[0x80, 0]).varint().is_err());
        assert!(Reader::new("a test", &[0xff; 10]).varint().is_err());
        assert!(Reader::new("a test", &[0xff; 3]).varint().is_err());
    }
}
