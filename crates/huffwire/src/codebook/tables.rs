//! Tables of a short codebook as vector coders want them: bytes, 64 to a register.

use super::lengths::Lengths;

/// In a table of code lengths: this code stands for something else, an escaped symbol or an exact zero.
pub(crate) const MARK: u8 = 0x80;

/// Made with the book, since a block has no time for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Codes by slot.
    pub(crate) codes: [u8; 256],
    /// Lengths by slot, with [`MARK`].
    pub(crate) lengths: [u8; 256],
    /// By the next 8 bits of a stream: slot, and length with [`MARK`].
    pub(crate) window_slots: [u8; 256],
    pub(crate) window_lengths: [u8; 256],
    /// Whether all codes of over 6 bits lie in the top quarter of the code space. Then the tables by window
    /// need 128 entries, and hold no more: 64 by the upper six bits of a window; and 64 with what has to
    /// be added to that, by the lower six bits of windows from 0xc0 on (nothing at 0xc0 itself, where all
    /// smaller windows may be sent).
    pub(crate) halved: bool,
}

impl Tables {
    /// From the tables of a book: codes by slot, slots and lengths by window.
    pub(crate) fn new(lengths: &Lengths, encode: &[u16; 256], decode: &[u32; 256]) -> Self {
        // The slots of escape and zero are no ordinary ones, and neither are those that take the escape.
        let mut by_slot = [MARK; 256];
        for (marked, &length) in by_slot.iter_mut().zip(lengths.ordinary_lengths()) {
            *marked = if length == 0 { MARK } else { 0 };
        }
        for (marked, entry) in by_slot.iter_mut().zip(encode) {
            *marked |= (entry >> 12) as u8;
        }
        let mut window_slots = decode.map(|entry| entry as u8);
        let mut window_lengths = window_slots.map(|slot| by_slot[usize::from(slot)]);
        // Codes are sorted by length: if this one has at most 6 bits, so have all below it.
        let halved = decode[0xbf] >> 8 <= 1 << 6;
        if halved {
            let halve = |table: &[u8; 256]| {
                std::array::from_fn(|i| match i {
                    0..64 => table[4 * i],
                    64..128 => table[192 + (i - 64)].wrapping_sub(table[192 + (i - 64) / 4 * 4]),
                    _ => 0,
                })
            };
            (window_slots, window_lengths) = (halve(&window_slots), halve(&window_lengths));
        }
        let codes = encode.map(|entry| entry as u8);
        Self { codes, lengths: by_slot, window_slots, window_lengths, halved }
    }
}
