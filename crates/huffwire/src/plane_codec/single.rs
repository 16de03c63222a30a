//! A single stream: codes one after the other, the first bit of a code in the highest bit that is free. For planes of
//! few symbols, which are not worth the states of 64 lanes.

use super::WHAT;
use crate::codebook::{Codebook, MultiSymbol, WINDOW_BITS};
use crate::error::{Error, Result};

/// Codes that are looked at between two looks at memory: 48 of the 57 bits that are there at least.
const AT_ONCE: usize = 4;

/// Windows of several codes that are looked up between two looks at memory.
const LOOKUPS: usize = 5;

/// Appends the codes of slots to `out`; the last byte is filled with zeros.
#[inline(always)]
pub(super) fn encode(book: &Codebook, slots: &[u8], out: &mut Vec<u8>) {
    let table = book.encode_table();
    // The lowest `count` bits of `window` are still to be written: 7 at most, and 48 of four codes.
    let (mut window, mut count) = (0u64, 0u32);
    let mut at = out.len();
    // Of a code of 12 bits there are at most 1.5 bytes for each slot.
    out.resize(at + slots.len() * 3 / 2 + 16, 0);
    let append = |window: &mut u64, count: &mut u32, slot: u8| {
        let entry = table[usize::from(slot)];
        *window = *window << (entry >> 12) | u64::from(entry & 0xfff);
        *count += u32::from(entry >> 12);
    };
    let (groups, rest) = slots.as_chunks::<AT_ONCE>();
    for group in groups {
        for &slot in group {
            append(&mut window, &mut count, slot);
        }
        if let Some(place) = out[at..].first_chunk_mut() {
            *place = (window << (63 - count) << 1).to_be_bytes();
        }
        at += (count / 8) as usize;
        count %= 8;
    }
    for &slot in rest {
        append(&mut window, &mut count, slot);
    }
    if let Some(place) = out[at..].first_chunk_mut() {
        *place = (window << (63 - count) << 1).to_be_bytes();
    }
    out.truncate(at + count.div_ceil(8) as usize);
}

/// Decodes as many slots as there is room for, which must take all of `stream`.
///
/// # Errors
/// [`Error::Malformed`] when the stream ends too early, is too long, or its last bits are not 0.
#[inline(always)]
pub(super) fn decode(
    book: &Codebook,
    several: Option<&MultiSymbol>,
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let end = 8 * stream.len();
    let (mut done, mut read) =
        several.map_or((0, 0), |several| decode_several(several, stream, slots));
    let table = book.decode_table();
    let limit = u32::from(book.limit().bits());
    while done < slots.len() {
        let mut window = window_at(stream, read);
        for slot in slots[done..].iter_mut().take(AT_ONCE) {
            let entry = table.get((window >> (64 - limit)) as usize).copied().unwrap_or(1 << 8);
            *slot = entry as u8;
            let length = (entry >> 8).trailing_zeros();
            window <<= length;
            read += length as usize;
            done += 1;
        }
        if read > end {
            return Err(too_short());
        }
    }
    if end - read >= 8 || window_at(stream, read) != 0 {
        return Err(too_long());
    }
    Ok(())
}

/// Decodes several slots at a time while whole windows are left, and room; returns how many slots and bits.
#[inline(always)]
fn decode_several(several: &MultiSymbol, stream: &[u8], slots: &mut [u8]) -> (usize, usize) {
    let (mut done, mut read) = (0, 0);
    // An entry is stored whole, four bytes, of which the last one is no slot.
    while slots.len() - done >= 4 * LOOKUPS {
        let Some(bytes) = stream.get(read / 8..).and_then(<[u8]>::first_chunk) else { break };
        let mut window = u64::from_be_bytes(*bytes) << (read % 8);
        for _ in 0..LOOKUPS {
            let entry = several.entry(window >> (64 - WINDOW_BITS));
            if let Some(place) = slots[done..].first_chunk_mut() {
                *place = entry.to_le_bytes();
            }
            done += (entry >> 24 & 3) as usize;
            let length = entry >> 26;
            window <<= length;
            read += length as usize;
        }
    }
    (done, read)
}

/// At least 57 bits from a bit on, in the upper ones; zeros behind the end.
#[inline(always)]
fn window_at(stream: &[u8], bit: usize) -> u64 {
    let from = stream.get(bit / 8..).unwrap_or_default();
    let bytes = from.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; 8];
        bytes[..from.len()].copy_from_slice(from);
        bytes
    });
    u64::from_be_bytes(bytes) << (bit % 8)
}

#[cold]
fn too_short() -> Error {
    Error::malformed(WHAT, 0, "a code that ends behind the end of its stream")
}

#[cold]
fn too_long() -> Error {
    Error::malformed(WHAT, 0, "a stream with more than the codes of its plane")
}
