//! The lane coder in portable safe Rust: the reference that defines the bytes.
//!
//! Written so that the compiler sees what cannot go wrong: a whole group of words is read from or
//! written to a fixed-size array, so no access needs a bounds check, and whether a lane takes a word
//! is arithmetic instead of a branch that no predictor could learn. Shifts by a variable distance are
//! slow on older processors, so shifting by a code's length is multiplying by a power of two that
//! comes with the code.

use super::{
    Escapes, FLOOR, INITIAL_BYTES, LANES, SlotMap, no_room, no_sentinel, out_of_words, wrong_end,
};
use crate::codebook::Codebook;
use crate::error::{Error, Result};

/// The word size of a code limit: everything in which short and long codes differ.
pub(super) trait Word {
    /// Bits of a refill word; a lane holds [`FLOOR`] bits and fewer than a word more.
    const BITS: u32;
    /// Bytes of a refill word.
    const BYTES: usize = Self::BITS as usize / 8;
    /// Reads the state word of a lane.
    fn state(states: &[u8], lane: usize) -> u32;
    /// Writes the state word of a lane.
    fn put_state(states: &mut [u8], lane: usize, state: u32);
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

/// Codes of at most 8 bits: 24-bit states, refilled by bytes.
#[derive(Debug)]
pub(super) struct Short;

/// Codes of at most 12 bits: 32-bit states, refilled by 16-bit words.
#[derive(Debug)]
pub(super) struct Long;

impl Word for Short {
    const BITS: u32 = 8;
    type Table = [u32; 1 << 8];
    type Group = [u8; LANES];

    fn state(states: &[u8], lane: usize) -> u32 {
        let [low, middle, high] = [0, 1, 2].map(|place| states[place * LANES + lane]);
        u32::from_le_bytes([low, middle, high, 0])
    }

    fn put_state(states: &mut [u8], lane: usize, state: u32) {
        let bytes = state.to_le_bytes();
        for place in 0..3 {
            states[place * LANES + lane] = bytes[place];
        }
    }

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

    fn state(states: &[u8], lane: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&states[4 * lane..4 * lane + 4]);
        u32::from_le_bytes(word)
    }

    fn put_state(states: &mut [u8], lane: usize, state: u32) {
        states[4 * lane..4 * lane + 4].copy_from_slice(&state.to_le_bytes());
    }

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

/// Encodes pieces of a plane, the last one first; see [`super::Encoder`].
///
/// A lane with value `v` and `n` bits is the number `q << 32 | v`, `q = 2^(n - FLOOR)`. A code of `len`
/// bits becomes the factor `2^len << 32 | code << FLOOR`: then
///
/// ```text
/// y = q * factor + v = (q << len) << 32 | v + (code << n)
/// ```
///
/// is the lane after the code was put on top, if no word has to be emitted first. One has to be when
/// `n + len >= FLOOR + w`, which is `q << len >= 2^w`, which is `y >= 2^(32 + w)` (`code << n` may reach
/// into `q`'s bits by then, but stays below those of `q << len`, too little to matter). The low `w` bits of
/// `y` are those of `v`, for `code << n` has none there; so the word to emit is the low end of `y`, and
/// the lane after emitting it is `y >> w`: shifting before or after adding the code is the same.
#[derive(Debug)]
pub(super) struct Encoder<W> {
    lanes: [u64; LANES],
    /// By symbol.
    factors: [u64; 256],
    /// By symbol, whether it takes the escape and has to be kept.
    escapes: Option<[bool; 256]>,
    word: std::marker::PhantomData<W>,
}

impl<W: Word> Encoder<W> {
    pub(super) fn new(
        book: &Codebook,
        map: SlotMap,
        initial: &[u8; INITIAL_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let factors = std::array::from_fn(|symbol| {
            let entry = book.encode_table()[usize::from(map.slot(symbol as u8))];
            let (length, code) = (entry >> 12, u64::from(entry & 0xfff));
            1 << (32 + length) | code << FLOOR
        });
        let (low, high) = initial.split_at(LANES);
        let lanes = std::array::from_fn(|lane| {
            1 << 32 | u64::from(u16::from_le_bytes([low[lane], high[lane]]))
        });
        let escapes = keep_escapes.then(|| map.escapes(book.lengths()));
        Self { lanes, factors, escapes, word: std::marker::PhantomData }
    }

    pub(super) fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let (whole, partial) = symbols.as_chunks::<LANES>();
        if !partial.is_empty() {
            self.step(partial, stream, end)?;
        }
        for symbols in whole.iter().rev() {
            self.step(symbols, stream, end)?;
        }
        if let Some(chosen) = &self.escapes {
            for run in symbols.rchunks(LANES) {
                // Most runs have none, which takes less time to find out than to pick them.
                if run.iter().fold(false, |any, &symbol| any | chosen[usize::from(symbol)]) {
                    let chosen = run.iter().rev().filter(|symbol| chosen[usize::from(**symbol)]);
                    chosen.for_each(|&symbol| escapes.front(1).fill(symbol));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, symbols: &[u8], stream: &mut [u8], end: &mut usize) -> Result<()> {
        let available = stream.len();
        let room = stream.get_mut(*end..*end + LANES * W::BYTES);
        let room = room.ok_or_else(|| no_room(*end + LANES * W::BYTES, available))?;
        let mut group = W::last_group(&[], 0);
        let mut words = 0;
        for (lane, &symbol) in self.lanes.iter_mut().zip(symbols) {
            let (q, v) = (*lane >> 32, *lane & 0xffff_ffff);
            let y = q * self.factors[usize::from(symbol)] + v;
            // Always written, counted only when due: the next word overwrites it otherwise.
            W::put(&mut group, words, y);
            let emit = y >> (32 + W::BITS) != 0;
            *lane = if emit { y >> W::BITS } else { y };
            words += usize::from(emit);
        }
        room.copy_from_slice(group.as_ref());
        *end += words * W::BYTES;
        Ok(())
    }

    pub(super) fn finish(&self, states: &mut [u8]) {
        for (index, lane) in self.lanes.iter().enumerate() {
            // q = 2^(n - FLOOR) becomes the sentinel 2^n.
            let state = (lane >> 32) << FLOOR | lane & 0xffff_ffff;
            W::put_state(states, index, state as u32);
        }
    }
}

/// Decodes pieces of a plane, the first one first; see [`super::Decoder`].
///
/// A lane is its window at the top of 32 bits with a sentinel bit below: `v << (32 - n) | s`,
/// `s = 1 << (31 - n)`, all zeros below. Dropping a code is one multiplication, which moves the
/// sentinel along; "fewer than `FLOOR` bits left" is "the low `32 - FLOOR` bits are 0"; and a word `b` goes
/// where the sentinel was, with a new sentinel below it: `+ (2b + 1) * (s >> w) - s`.
#[derive(Debug)]
pub(super) struct Decoder<'a, W: Word> {
    lanes: [u32; LANES],
    table: &'a W::Table,
    base: u8,
    stream: &'a [u8],
}

impl<'a, W: Word> Decoder<'a, W> {
    pub(super) fn new(
        book: &'a Codebook,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Some(table) = W::table(book) else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let mut lanes = [0; LANES];
        for (index, lane) in lanes.iter_mut().enumerate() {
            let state = W::state(states, index);
            if state >> FLOOR == 0 {
                return Err(no_sentinel(index));
            }
            let n = state.ilog2();
            *lane = (state ^ 1 << n) << (32 - n) | 1 << (31 - n);
        }
        Ok(Self { lanes, table, base, stream })
    }

    pub(super) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut::<LANES>();
        for symbols in whole {
            self.step(symbols)?;
        }
        if !partial.is_empty() {
            self.step(partial)?;
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, symbols: &mut [u8]) -> Result<()> {
        let end = self.stream.len();
        let group = W::last_group(self.stream, end);
        let available = end.min(LANES * W::BYTES) / W::BYTES;
        let mut words = 0;
        for (symbol, lane) in symbols.iter_mut().zip(&mut self.lanes).rev() {
            let entry = W::lookup(self.table, *lane);
            *symbol = (entry as u8).wrapping_add(self.base);
            let window = lane.wrapping_mul(entry >> 8);
            let sentinel = window & window.wrapping_neg();
            let word = W::get(&group, LANES - 1 - words);
            let refilled = window
                .wrapping_add((2 * word + 1).wrapping_mul(sentinel >> W::BITS))
                .wrapping_sub(sentinel);
            let empty = window << FLOOR == 0;
            *lane = if empty { refilled } else { window };
            words += usize::from(empty);
        }
        if words > available {
            return Err(out_of_words());
        }
        self.stream = &self.stream[..end - words * W::BYTES];
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        let mut initial = [0; INITIAL_BYTES];
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane << FLOOR != 1 << 31 {
                return Err(wrong_end());
            }
            [initial[index], initial[LANES + index]] = ((lane >> FLOOR) as u16).to_le_bytes();
        }
        if self.stream.is_empty() { Ok(initial) } else { Err(wrong_end()) }
    }
}
