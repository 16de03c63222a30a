//! The tables of 8-bit codes that vector coders use.

use super::lengths::Lengths;
use crate::kernels::tables::{Bits8, MARK};

/// From the tables of a book: codes by slot, slots and lengths by window.
pub(super) fn fill(lengths: &Lengths, encode: &[u16; 256], decode: &[u32; 256]) -> Bits8 {
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
    Bits8 { codes, lengths: by_slot, window_slots, window_lengths, halved }
}
