//! A table that tells several codes of a stream at a time: for streams that are read one code after the other.

use super::Codebook;
use crate::alphabet::CodeLimit;

/// Bits of the stream that the table is looked up by.
pub(crate) const WINDOW_BITS: u32 = 10;

/// Codes that an entry tells at most.
const MOST: u32 = 3;

/// By the next 10 bits of a stream: up to three slots, a byte each, the first one lowest; in bits 24 and 25 how many
/// they are; above them the bits of all their codes.
#[derive(Debug, Clone)]
pub(crate) struct MultiSymbol {
    entries: Box<[u32; 1 << WINDOW_BITS]>,
}

impl MultiSymbol {
    /// `None` for 12-bit codes, of which a window may not hold one.
    pub(crate) fn new(book: &Codebook) -> Option<Self> {
        if book.limit() != CodeLimit::Bits8 {
            return None;
        }
        let decode = book.decode_table();
        let mut entries = Box::new([0; 1 << WINDOW_BITS]);
        for (window, entry) in (0u32..).zip(entries.iter_mut()) {
            let (mut slots, mut count, mut read) = (0, 0, 0);
            while count < MOST {
                // What is behind the window counts as zeros, and codes that would reach there as unknown.
                let rest = window << read & ((1 << WINDOW_BITS) - 1);
                let code = decode[(rest >> (WINDOW_BITS - 8)) as usize];
                let length = (code >> 8).trailing_zeros();
                if read + length > WINDOW_BITS {
                    break;
                }
                slots |= (code & 0xff) << (8 * count);
                count += 1;
                read += length;
            }
            *entry = slots | count << 24 | read << 26;
        }
        Some(Self { entries })
    }

    /// The entry of a window in the lowest bits.
    #[inline(always)]
    pub(crate) fn entry(&self, window: u64) -> u32 {
        self.entries[window as usize % (1 << WINDOW_BITS)]
    }
}
