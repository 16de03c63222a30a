//! The lane coder in portable safe Rust: the reference that defines the bytes.
//!
//! Written so that the compiler sees what cannot go wrong: a whole group of words is read from or
//! written to a fixed-size array, so no access needs a bounds check, and whether a lane takes a word
//! is arithmetic instead of a branch that no predictor could learn. Shifts by a variable distance are
//! slow on older processors, so shifting by a code's length is multiplying by a power of two that
//! comes with the code.

use super::{LANES, no_room, no_sentinel, out_of_words, outside_alphabet, wrong_end};
use crate::codebook::Codebook;
use crate::error::{Error, Result};

/// The word size of a code limit: everything in which short and long codes differ.
pub(super) trait Word {
    /// Bits of a refill word; a lane holds at least this many and fewer than twice as many.
    const BITS: u32;
    /// Bytes of a refill word.
    const BYTES: usize = Self::BITS as usize / 8;
    /// The decode table, of a size that the compiler knows.
    type Table;
    /// The words one step can move: one per lane.
    type Group: AsRef<[u8]>;
    /// The decode table of a book; `None` when the book is not of this word size.
    fn table(book: &Codebook) -> Option<&Self::Table>;
    /// The entry for a window that lies at the top of 32 bits.
    fn lookup(table: &Self::Table, window: u32) -> u32;
    /// The last group of `stream[..end]`, zeros in front where the stream is shorter.
    fn last_group(stream: &[u8], end: usize) -> Self::Group;
    /// Word `index` of a group.
    fn get(group: &Self::Group, index: usize) -> u32;
    /// Sets word `index` of a group.
    fn put(group: &mut Self::Group, index: usize, word: u64);
}

/// Codes of at most 8 bits: 16-bit states, refilled by bytes.
#[derive(Debug)]
pub(super) struct Short;

/// Codes of at most 12 bits: 32-bit states, refilled by 16-bit words.
#[derive(Debug)]
pub(super) struct Long;

impl Word for Short {
    const BITS: u32 = 8;
    type Table = [u32; 1 << 8];
    type Group = [u8; LANES];

    fn table(book: &Codebook) -> Option<&Self::Table> {
        book.decode_table().try_into().ok()
    }

    #[inline]
    fn lookup(table: &Self::Table, window: u32) -> u32 {
        table[(window >> 24) as usize]
    }

    #[inline]
    fn last_group(stream: &[u8], end: usize) -> Self::Group {
        last_bytes(stream, end)
    }

    #[inline]
    fn get(group: &Self::Group, index: usize) -> u32 {
        u32::from(group[index % LANES])
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        group[index % LANES] = word as u8;
    }
}

impl Word for Long {
    const BITS: u32 = 16;
    type Table = [u32; 1 << 12];
    type Group = [u8; 2 * LANES];

    fn table(book: &Codebook) -> Option<&Self::Table> {
        book.decode_table().try_into().ok()
    }

    #[inline]
    fn lookup(table: &Self::Table, window: u32) -> u32 {
        table[(window >> 20) as usize]
    }

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
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        let at = 2 * (index % LANES);
        [group[at], group[at + 1]] = (word as u16).to_le_bytes();
    }
}

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
///
/// A lane with value `v` and `n` bits is the number `q << 32 | v`, `q = 2^(n - w)`. A code of `len`
/// bits becomes the factor `2^len << 32 | code << w`: then
///
/// ```text
/// y = q * factor + v = (q << len) << 32 | v + (code << n)
/// ```
///
/// is the lane after the code was put on top, if no word has to be emitted first. One has to be when
/// `n + len >= 2w`, which is `q << len >= 2^w`, which is `y >= 2^(32 + w)` (`v` may reach into `q`'s
/// bits by then, but is less than `q << (len + w)`, too little to matter). The low `w` bits of `y` are
/// those of `v`, for `code << n` has none there; so the word to emit is the low end of `y`, and
/// the lane after emitting it is `y >> w`: shifting before or after adding the code is the same.
pub(super) fn encode<W: Word>(
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let last = (book.lengths().alphabet().slots() - 1) as u8;
    if slots.iter().fold(0, |highest, &slot| highest.max(slot)) > last {
        return Err(outside_alphabet());
    }
    let factors: [u64; 256] = book.encode_table().map(|entry| {
        let (length, code) = (entry >> 12, u64::from(entry & 0xfff));
        1 << (32 + length) | code << W::BITS
    });
    let mut lanes = [1u64 << 32; LANES];
    let mut end = 0;
    let mut step = |slots: &[u8]| -> Result<()> {
        let available = stream.len();
        let room = stream.get_mut(end..end + LANES * W::BYTES);
        let room = room.ok_or_else(|| no_room(end + LANES * W::BYTES, available))?;
        let mut group = W::last_group(&[], 0);
        let mut words = 0;
        for (lane, &slot) in lanes.iter_mut().zip(slots).rev() {
            let (q, v) = (*lane >> 32, *lane & 0xffff_ffff);
            let y = q * factors[usize::from(slot)] + v;
            // Always written, counted only when due: the next word overwrites it otherwise.
            W::put(&mut group, words, y);
            let emit = y >> (32 + W::BITS) != 0;
            *lane = if emit { y >> W::BITS } else { y };
            words += usize::from(emit);
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
        // q = 2^(n - w) becomes the sentinel 2^n.
        let state = (lane >> 32) << W::BITS | lane & 0xffff_ffff;
        bytes.copy_from_slice(&state.to_le_bytes()[..2 * W::BYTES]);
    }
    Ok(end)
}

/// See [`super::decode`], which checked its arguments.
///
/// A lane is its window at the top of 32 bits with a sentinel bit below: `v << (32 - n) | s`,
/// `s = 1 << (31 - n)`, all zeros below. Dropping a code is one multiplication, which moves the
/// sentinel along; "fewer than `w` bits left" is "the low `32 - w` bits are 0"; and a word `b` goes
/// where the sentinel was, with a new sentinel below it: `+ (2b + 1) * (s >> w) - s`.
pub(super) fn decode<W: Word>(
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let Some(table) = W::table(book) else {
        return Err(Error::codebook("a codebook of the other code limit"));
    };
    let mut lanes = [0u32; LANES];
    for (index, (lane, bytes)) in
        lanes.iter_mut().zip(states.chunks_exact(2 * W::BYTES)).enumerate()
    {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        let state = u32::from_le_bytes(word);
        if state >> W::BITS == 0 {
            return Err(no_sentinel(index * bytes.len()));
        }
        let n = state.ilog2();
        *lane = (state ^ 1 << n) << (32 - n) | 1 << (31 - n);
    }
    let mut end = stream.len();
    let mut step = |slots: &mut [u8]| -> Result<()> {
        let group = W::last_group(stream, end);
        let available = end.min(LANES * W::BYTES) / W::BYTES;
        let mut words = 0;
        for (slot, lane) in slots.iter_mut().zip(&mut lanes) {
            let entry = W::lookup(table, *lane);
            *slot = entry as u8;
            let window = lane.wrapping_mul(entry >> 8);
            let sentinel = window & window.wrapping_neg();
            let word = W::get(&group, LANES - 1 - words);
            let refilled = window
                .wrapping_add((2 * word + 1).wrapping_mul(sentinel >> W::BITS))
                .wrapping_sub(sentinel);
            let empty = window << W::BITS == 0;
            *lane = if empty { refilled } else { window };
            words += usize::from(empty);
        }
        if words > available {
            return Err(out_of_words());
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
    if end != 0 || lanes != [1 << (31 - W::BITS); LANES] {
        return Err(wrong_end());
    }
    Ok(())
}
