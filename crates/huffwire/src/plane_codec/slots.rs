//! Mapping symbols to the slots of a book, and back: for planes with zeros apart, and for single streams. (The lane
//! coder maps symbols to slots within its loop.)

use crate::codebook::{Alphabet, Codebook, ESCAPE_SLOT, ZERO_SLOT};
use crate::error::Result;
use crate::kernels::bytes;
use crate::kernels::platform::Platform;
use crate::lanes;

/// Slots handled at a time: few enough that a byte can count them, so that the compiler makes vectors
/// of it.
const CHUNK: usize = 128;

/// Maps symbols to slots, collects those that take the escape; returns how many are exact zeros. `nonzero` is 0 for
/// these, and empty when there are none.
pub(super) fn from_symbols(
    platform: Platform,
    book: &Codebook,
    base: u8,
    (symbols, nonzero): (&[u8], &[u8]),
    slots: &mut Vec<u8>,
    escapes: &mut Vec<u8>,
) -> usize {
    let lengths = book.lengths();
    slots.resize(symbols.len(), 0);
    let centred = lengths.alphabet() == Alphabet::Centred;
    let zeros = if centred {
        platform.run(
            #[inline(always)]
            || to_slots(symbols, nonzero, base, slots),
        )
    } else {
        slots.copy_from_slice(symbols);
        0
    };
    escapes.clear();
    if lengths.escape() > 0 {
        bytes::select(platform, &book.tables().escapes, slots, symbols, escapes);
    }
    zeros
}

/// The inverse; checks that there are as many zeros and escapes as were announced.
pub(super) fn to_symbols(
    platform: Platform,
    book: &Codebook,
    (base, zeros): (u8, usize),
    slots: &[u8],
    escapes: &[u8],
    symbols: &mut [u8],
) -> Result<()> {
    let lengths = book.lengths();
    let zeros_seen = if lengths.alphabet() == Alphabet::Centred {
        platform.run(
            #[inline(always)]
            || from_slots(slots, base, symbols),
        )
    } else {
        symbols.copy_from_slice(slots);
        0
    };
    let escapes_seen = lengths
        .escape_slot()
        .map_or(0, |escape| bytes::expand(platform, escape, false, slots, escapes, symbols));
    if zeros_seen != zeros || escapes_seen != escapes.len() {
        return Err(lanes::wrong_count());
    }
    Ok(())
}

/// Exponents to the slots of a centred book; returns the number of exact zeros.
#[inline(always)]
fn to_slots(exponents: &[u8], nonzero: &[u8], base: u8, slots: &mut [u8]) -> usize {
    for (slot, exponent) in slots.iter_mut().zip(exponents) {
        *slot = exponent.wrapping_sub(base).min(ESCAPE_SLOT as u8);
    }
    let mut zeros = 0;
    for (slots, nonzero) in slots.chunks_mut(CHUNK).zip(nonzero.chunks(CHUNK)) {
        let mut here = 0u8;
        for (slot, &nonzero) in slots.iter_mut().zip(nonzero) {
            *slot = if nonzero == 0 { ZERO_SLOT as u8 } else { *slot };
            here += u8::from(nonzero == 0);
        }
        zeros += usize::from(here);
    }
    zeros
}

/// Slots of a centred book back to exponents, but for escapes; returns the number of exact zeros.
#[inline(always)]
fn from_slots(slots: &[u8], base: u8, exponents: &mut [u8]) -> usize {
    let mut zeros = 0;
    let chunks = exponents.chunks_mut(CHUNK).zip(slots.chunks(CHUNK));
    for (exponents, slots) in chunks {
        let mut here = 0u8;
        for (exponent, &slot) in exponents.iter_mut().zip(slots) {
            let zero = usize::from(slot) == ZERO_SLOT;
            here += u8::from(zero);
            *exponent = if zero { 0 } else { base.wrapping_add(slot) };
        }
        zeros += usize::from(here);
    }
    zeros
}
