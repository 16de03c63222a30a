//! The lane coder in portable safe Rust: the reference that defines the bytes.
//!
//! Written so that the compiler sees what cannot go wrong: a whole group of words is read from or
//! written to a fixed-size array, so no access needs a bounds check, and whether a lane takes a word
//! is arithmetic instead of a branch that no predictor could learn.

use super::LANES;
use crate::codebook::Codebook;
use crate::error::{Error, Result};

const WHAT: &str = "a coded plane";

/// The word size of a code limit: everything in which short and long codes differ.
pub trait Word {
    /// Bits of a refill word; a lane holds at least this many and fewer than twice as many.
    const BITS: u32;
    /// Bytes of a refill word.
    const BYTES: usize = Self::BITS as usize / 8;
    /// Bits that index the decode table.
    const TABLE_BITS: u32;
    /// The words one step can move: one per lane.
    type Group: AsRef<[u8]> + AsMut<[u8]>;
    /// The last group of `stream[..end]`, in an array of its own.
    fn last_group(stream: &[u8], end: usize) -> Self::Group;
    /// Word `index` of a group.
    fn get(group: &Self::Group, index: usize) -> u32;
    /// Sets word `index` of a group.
    fn put(group: &mut Self::Group, index: usize, word: u32);
}

/// Codes of at most 8 bits: 16-bit states, refilled by bytes.
#[derive(Debug)]
pub struct Short;

/// Codes of at most 12 bits: 32-bit states, refilled by 16-bit words.
#[derive(Debug)]
pub struct Long;

impl Word for Short {
    const BITS: u32 = 8;
    const TABLE_BITS: u32 = 8;
    type Group = [u8; LANES];

    #[inline]
    fn last_group(stream: &[u8], end: usize) -> Self::Group {
        last_bytes(stream, end)
    }

    #[inline]
    fn get(group: &Self::Group, index: usize) -> u32 {
        u32::from(group[index % LANES])
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u32) {
        group[index % LANES] = word as u8;
    }
}

impl Word for Long {
    const BITS: u32 = 16;
    const TABLE_BITS: u32 = 12;
    type Group = [u8; 2 * LANES];

    #[inline]
    fn last_group(stream: &[u8], end: usize) -> Self::Group {
        last_bytes(stream, end)
    }

    #[inline]
    fn get(group: &Self::Group, index: usize) -> u32 {
        let at = 2 * (index % LANES);
        u32::from(u16::from_le_bytes([group[at], group[at + 1]]))
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u32) {
        let at = 2 * (index % LANES);
        [group[at], group[at + 1]] = (word as u16).to_le_bytes();
    }
}

/// The `N` bytes before `end`, zeros in front where the stream is shorter.
#[inline]
fn last_bytes<const N: usize>(stream: &[u8], end: usize) -> [u8; N] {
    let mut bytes = [0; N];
    match stream[..end].last_chunk() {
        Some(chunk) => bytes = *chunk,
        None => bytes[N - end..].copy_from_slice(&stream[..end]),
    }
    bytes
}

/// See [`super::encode`], which checked its arguments.
pub(super) fn encode<W: Word>(
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let table = book.encode_table();
    // A lane is `1 << n | v`: the sentinel makes "n + len >= 2w" a comparison with a power of two.
    let mut lanes = [1u32 << W::BITS; LANES];
    let mut end = 0;
    let mut step = |slots: &[u8]| -> Result<()> {
        let available = stream.len();
        let room = stream.get_mut(end..end + LANES * W::BYTES);
        let room = room.ok_or(Error::OutputTooSmall {
            needed: end + LANES * W::BYTES,
            available,
        })?;
        let mut group = W::last_group(&[], 0);
        let mut words = 0;
        for (lane, &slot) in lanes.iter_mut().zip(slots) {
            let entry = u32::from(table[usize::from(slot)]);
            let (length, code) = (entry >> 12, entry & 0xfff);
            let full = *lane >> (2 * W::BITS - length) != 0;
            // Always written, counted only when full: the next word overwrites it otherwise.
            W::put(&mut group, words, *lane);
            words += usize::from(full);
            *lane >>= if full { W::BITS } else { 0 };
            // Takes the sentinel out at n, puts code and sentinel in at n and n + length.
            *lane += ((1 << length | code) - 1) << lane.ilog2();
        }
        room.copy_from_slice(group.as_ref());
        end += words * W::BYTES;
        Ok(())
    };
    let (whole, partial) = slots.as_chunks::<LANES>();
    if !partial.is_empty() {
        step(partial)?;
    }
    for slots in whole.iter().rev() {
        step(slots)?;
    }
    for (bytes, lane) in states.chunks_exact_mut(2 * W::BYTES).zip(lanes) {
        bytes.copy_from_slice(&lane.to_le_bytes()[..2 * W::BYTES]);
    }
    Ok(end)
}

/// See [`super::decode`], which checked its arguments.
pub(super) fn decode<W: Word>(
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let table = book.decode_table();
    // Windows are kept at the top of 32 bits, so that the next code is always in the same place.
    let mut windows = [0u32; LANES];
    let mut counts = [0u32; LANES];
    for (index, bytes) in states.chunks_exact(2 * W::BYTES).enumerate() {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        let state = u32::from_le_bytes(word);
        if state >> W::BITS == 0 {
            let detail = "a lane state without its sentinel bit";
            return Err(Error::malformed(WHAT, index * bytes.len(), detail));
        }
        let n = state.ilog2();
        windows[index] = (state ^ 1 << n) << (32 - n);
        counts[index] = n;
    }
    let mut end = stream.len();
    let mut step = |slots: &mut [u8]| -> Result<()> {
        let group = W::last_group(stream, end);
        let available = end.min(LANES * W::BYTES) / W::BYTES;
        let mut words = 0;
        // Lanes in descending order pop the stack word by word: the group need not be counted first.
        for ((slot, window), n) in slots.iter_mut().zip(&mut windows).zip(&mut counts).rev() {
            let entry = u32::from(table[(*window >> (32 - W::TABLE_BITS)) as usize]);
            *slot = entry as u8;
            let length = entry >> 8;
            *window <<= length;
            *n -= length;
            let empty = *n < W::BITS;
            let word = W::get(&group, LANES - 1 - words) << (32 - W::BITS) >> (*n % 32);
            *window |= if empty { word } else { 0 };
            *n += if empty { W::BITS } else { 0 };
            words += usize::from(empty);
        }
        if words > available {
            return Err(Error::malformed(
                WHAT,
                0,
                "the lanes want more words than the stream has",
            ));
        }
        end -= words * W::BYTES;
        Ok(())
    };
    let (whole, partial) = slots.as_chunks_mut::<LANES>();
    for slots in whole {
        step(slots)?;
    }
    if !partial.is_empty() {
        step(partial)?;
    }
    let at_start = windows == [0; LANES] && counts == [W::BITS; LANES];
    if end != 0 || !at_start {
        return Err(Error::malformed(
            WHAT,
            0,
            "the lanes do not end where an encoder begins",
        ));
    }
    Ok(())
}
