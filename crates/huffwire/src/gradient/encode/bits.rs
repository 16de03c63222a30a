//! A writer and a reader of single bits, which begin with the lowest bit of each byte.

use super::malformed;
use crate::error::{Error, Result};

/// Appends bits to bytes.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The bits that are not written yet, fewer than 64. The bits above them are 0.
    waiting: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, waiting: 0, count: 0 }
    }

    /// Appends the low `count` bits of `bits`, at most 63; the others must be 0.
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.waiting |= bits << self.count;
        let all = self.count + count;
        if all < 64 {
            self.count = all;
            return;
        }
        self.out.extend_from_slice(&self.waiting.to_le_bytes());
        // `self.count` is not 0 here, because `count` alone is less than 64.
        self.waiting = bits >> (64 - self.count);
        self.count = all - 64;
    }

    /// Appends the Elias γ code of `number + 1`.
    pub(super) fn put_gamma(&mut self, number: u32) {
        let number = u64::from(number) + 1;
        let bits = number.ilog2();
        self.put(0, bits);
        self.put(1, 1);
        self.put(number & !(1 << bits), bits);
    }

    /// Fills up the last byte with zeros.
    pub(super) fn finish(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.waiting.to_le_bytes()[..bytes]);
    }
}

/// Takes bits from bytes. Beyond the end it gives zeros, which [`BitReader::finish`] reports as an error.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    window: u64,
    /// Number of bits in the window.
    count: u32,
    /// Number of bits taken from beyond the end.
    beyond: u64,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, window: 0, count: 0, beyond: 0 }
    }

    /// Makes at least 56 bits ready.
    #[inline]
    pub(super) fn refill(&mut self) {
        if let Some(bytes) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            self.window |= u64::from_le_bytes(*bytes) << self.count;
            self.at += ((63 - self.count) >> 3) as usize;
            self.count |= 56;
        } else {
            self.refill_slowly();
        }
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count < 56 {
            match self.bytes.get(self.at) {
                Some(&byte) => {
                    self.window |= u64::from(byte) << self.count;
                    self.at += 1;
                }
                None => self.beyond += 8,
            }
            self.count += 8;
        }
        // The fast path may have left other bits above.
        self.window &= u64::MAX >> (64 - self.count);
    }

    /// The bits that are ready, the next one lowest.
    #[inline]
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// Drops bits that are ready.
    #[inline]
    pub(super) const fn skip(&mut self, count: u32) {
        self.window >>= count;
        self.count -= count;
    }

    /// Takes at most 32 bits.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.refill();
        let bits = self.window & ((1 << count) - 1);
        self.skip(count);
        bits as u32
    }

    /// Takes a number that [`BitWriter::put_gamma`] wrote.
    pub(super) fn take_gamma(&mut self) -> Result<u32> {
        self.refill();
        let bits = self.window.trailing_zeros();
        if bits > 32 {
            return Err(malformed("a number that is too large"));
        }
        self.skip(bits + 1);
        let number = (1 << bits) | u64::from(self.take(bits));
        u32::try_from(number - 1).map_err(|_| malformed("a number that is too large"))
    }

    /// Whether more bits were taken than the bytes have.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.beyond > self.count as u64
    }

    /// Ends reading: returns the bytes after the byte of the last bit. The bits of that byte that were not taken must
    /// be 0.
    pub(super) fn finish(self) -> Result<&'a [u8]> {
        if self.is_exhausted() {
            let bits = self.beyond - u64::from(self.count);
            return Err(Error::Truncated {
                what: super::WHAT,
                offset: self.bytes.len(),
                needed: bits.div_ceil(8) as usize,
                available: 0,
            });
        }
        let left = u64::from(self.count) - self.beyond;
        if !left.is_multiple_of(8) && self.window & ((1 << (left % 8)) - 1) != 0 {
            return Err(malformed("padding that is not zero"));
        }
        Ok(&self.bytes[self.at - (left / 8) as usize..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::Random;

    #[test]
    fn bits_come_back() {
        let random = Random::new(7);
        for count in 0..200u64 {
            let mut bytes = vec![9];
            let mut writer = BitWriter::new(&mut bytes);
            let value = |i: u64| (random.bits(i) as u32, random.below(i + 1000, 33) as u32);
            for i in 0..count {
                let (bits, length) = value(i);
                writer.put(u64::from(bits) & ((1 << length) - 1), length);
                writer.put_gamma(bits >> (i % 32));
            }
            writer.put_gamma(u32::MAX);
            writer.finish();
            bytes.push(0xab);
            let mut reader = BitReader::new(&bytes[1..]);
            for i in 0..count {
                let (bits, length) = value(i);
                assert_eq!(u64::from(reader.take(length)), u64::from(bits) & ((1 << length) - 1));
                assert_eq!(reader.take_gamma(), Ok(bits >> (i % 32)));
            }
            assert_eq!(reader.take_gamma(), Ok(u32::MAX));
            assert_eq!(reader.finish(), Ok(&[0xab][..]));
        }
    }

    #[test]
    fn the_end_is_noticed() {
        let mut reader = BitReader::new(&[0x01]);
        assert_eq!(reader.take(9), 1);
        assert!(reader.is_exhausted());
        assert!(reader.finish().is_err());
        assert!(BitReader::new(&[0; 20]).take_gamma().is_err());
        let mut reader = BitReader::new(&[0x81]);
        reader.take(3);
        assert!(reader.finish().is_err(), "padding");
    }
}
