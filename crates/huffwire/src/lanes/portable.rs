//! The lane coder in portable safe Rust: the reference that defines the bytes.
//!
//! Written so that the compiler sees what cannot go wrong, and that nothing depends on a branch that no predictor
//! could learn. Shifts by a variable distance are slow on older processors, and vectors of 16-bit words do not
//! have them: shifting by a code's length is multiplying by a power of two, which comes with the code.
//!
//! The encoder does one lane after the other. The decoder of short codes takes turns: arithmetic on all lanes, of which
//! the compiler makes vectors; looking up, lane by lane; and dealing words, one after the other.

use std::marker::PhantomData;

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
    /// The words one step can move: one per lane.
    type Group: AsRef<[u8]>;
    /// A group of zeros.
    const GROUP: Self::Group;
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
    type Group = [u8; LANES];
    const GROUP: Self::Group = [0; LANES];

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

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        group[index % LANES] = word as u8;
    }
}

impl Word for Long {
    const BITS: u32 = 16;
    type Group = [u8; 2 * LANES];
    const GROUP: Self::Group = [0; 2 * LANES];

    fn state(states: &[u8], lane: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&states[4 * lane..4 * lane + 4]);
        u32::from_le_bytes(word)
    }

    fn put_state(states: &mut [u8], lane: usize, state: u32) {
        states[4 * lane..4 * lane + 4].copy_from_slice(&state.to_le_bytes());
    }

    #[inline]
    fn put(group: &mut Self::Group, index: usize, word: u64) {
        let at = 2 * (index % LANES);
        [group[at], group[at + 1]] = (word as u16).to_le_bytes();
    }
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
pub(super) struct Encoder<'b, W> {
    lanes: [u64; LANES],
    /// By symbol.
    factors: [u64; 256],
    /// By symbol, whether it takes the escape and has to be kept.
    escapes: Option<[bool; 256]>,
    /// Others keep tables of the book.
    made_from: PhantomData<(&'b Codebook, W)>,
}

impl<'b, W: Word> Encoder<'b, W> {
    pub(super) fn new(
        book: &'b Codebook,
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
        Self { lanes, factors, escapes, made_from: PhantomData }
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
        let mut group = W::GROUP;
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

/// The lanes that need a word, as the bits of a number, the last lane lowest. (From the lowest bit on is the
/// quicker way to go through them.)
#[inline]
fn in_need(need: &[u8; LANES]) -> u64 {
    let (eights, _) = need.as_chunks::<8>();
    eights.iter().fold(0, |lanes, eight| {
        // Bit 0 of byte `i` goes to bit `63 - i`, and nothing else goes to the upper eight.
        let upper = u64::from_le_bytes(*eight).wrapping_mul(0x8040_2010_0804_0201);
        lanes << 8 | upper >> 56
    })
}

/// The last lane of those [`in_need`].
#[inline]
const fn last_of(lanes: u64) -> usize {
    (LANES - 1).wrapping_sub(lanes.trailing_zeros() as usize) % LANES
}

/// Decodes pieces of a plane of short codes, the first one first; see [`super::Decoder`].
///
/// Of a lane's `16 + d` bits the lowest 8 are in reserve, the others the window, at the low end of 16 bits and with
/// bits above that were used already. With `f = 2^(7 - d)` the next 8 bits are the upper half of `2 * f * window`, as
/// a 16-bit word. Dropping a code of `len` bits makes `f * 2^len` of `f`, and nothing else. If that is less than
/// `2^8`, it is right; else the lane needs a word: the byte in reserve joins the window, and `f / 2^8` is
/// right. What comes into the reserve is not looked at in the next step, so it is dealt only then.
#[derive(Debug)]
pub(super) struct ShortDecoder<'a> {
    windows: [u16; LANES],
    factors: [u16; LANES],
    reserve: [u8; LANES],
    /// 1 for the lanes whose reserve is due.
    need: [u8; LANES],
    table: &'a [u32; 1 << 8],
    base: u8,
    stream: &'a [u8],
}

impl<'a> ShortDecoder<'a> {
    pub(super) fn new(
        book: &'a Codebook,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = book.decode_table().try_into() else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let (mut windows, mut factors, mut reserve) = ([0; LANES], [0; LANES], [0; LANES]);
        for lane in 0..LANES {
            let state = Short::state(states, lane);
            if state >> FLOOR == 0 {
                return Err(no_sentinel(lane));
            }
            windows[lane] = (state >> 8) as u16;
            reserve[lane] = state as u8;
            factors[lane] = 1 << (7 - (state.ilog2() - FLOOR));
        }
        Ok(Self { windows, factors, reserve, need: [0; LANES], table, base, stream })
    }

    pub(super) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut::<LANES>();
        for symbols in whole {
            self.step(symbols, LANES)?;
        }
        if !partial.is_empty() {
            let mut padded = [0; LANES];
            self.step(&mut padded, partial.len())?;
            partial.copy_from_slice(&padded[..partial.len()]);
        }
        self.deal()?;
        symbols.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_add(self.base));
        Ok(())
    }

    #[inline]
    fn step(&mut self, symbols: &mut [u8; LANES], active: usize) -> Result<()> {
        self.deal()?;
        let mut next = [0; LANES];
        for (lane, next) in next.iter_mut().enumerate() {
            let bits = 2u16.wrapping_mul(self.factors[lane]).wrapping_mul(self.windows[lane]);
            *next = (bits >> 8) as u8;
        }
        let mut shifts = [1; LANES];
        for ((symbol, shift), next) in symbols.iter_mut().zip(&mut shifts).zip(next) {
            let entry = self.table[usize::from(next)];
            *symbol = entry as u8;
            *shift = (entry >> 8) as u16;
        }
        shifts[active..].fill(1);
        for (lane, shift) in shifts.into_iter().enumerate() {
            // A power of two: either the upper or the lower half of it is 0.
            let factor = self.factors[lane].wrapping_mul(shift);
            self.factors[lane] = factor >> 8 | factor & 0xff;
            let need = if factor & 0xff == 0 { u16::MAX } else { 0 };
            self.need[lane] = need as u8 & 1;
            let window = self.windows[lane];
            let joined = window << 8 | u16::from(self.reserve[lane]);
            self.windows[lane] = joined & need | window & !need;
        }
        Ok(())
    }

    /// Deals words to the lanes that need one.
    #[inline]
    fn deal(&mut self) -> Result<()> {
        let mut lanes = in_need(&self.need);
        let mut stream = self.stream;
        while lanes != 0 {
            let (&word, rest) = stream.split_last().ok_or_else(out_of_words)?;
            (self.reserve[last_of(lanes)], stream) = (word, rest);
            lanes &= lanes - 1;
        }
        (self.stream, self.need) = (stream, [0; LANES]);
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        if self.factors != [1 << 7; LANES] || !self.stream.is_empty() {
            return Err(wrong_end());
        }
        let mut initial = [0; INITIAL_BYTES];
        for lane in 0..LANES {
            (initial[lane], initial[LANES + lane]) = (self.reserve[lane], self.windows[lane] as u8);
        }
        Ok(initial)
    }
}

/// Decodes pieces of a plane of long codes, the first one first; see [`super::Decoder`].
///
/// All in one go, lane by lane: words of 16 bits leave nothing in reserve, and vectors of 32-bit words have no
/// multiplication everywhere. A lane is its window at the top of 32 bits with a sentinel bit below it:
/// `v << (32 - n) | s`, `s = 1 << (31 - n)`, all zeros below. Dropping a code is one multiplication, which moves
/// the sentinel along; "fewer than [`FLOOR`] bits left" is "the lower half is 0"; and a word `b` goes
/// where the sentinel was, with a new sentinel below it: `+ (2b + 1) * (s >> 16) - s`.
#[derive(Debug)]
pub(super) struct LongDecoder<'a> {
    lanes: [u32; LANES],
    table: &'a [u32; 1 << 12],
    base: u8,
    stream: &'a [u8],
}

impl<'a> LongDecoder<'a> {
    pub(super) fn new(
        book: &'a Codebook,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = book.decode_table().try_into() else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let mut lanes = [0; LANES];
        for (index, lane) in lanes.iter_mut().enumerate() {
            let state = Long::state(states, index);
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
        // The last words, zeros in front where there are fewer than lanes.
        let mut group = [0; 2 * LANES];
        match self.stream.last_chunk() {
            Some(words) => group = *words,
            None => group[2 * LANES - self.stream.len()..].copy_from_slice(self.stream),
        }
        let mut words = 0;
        for (symbol, lane) in symbols.iter_mut().zip(&mut self.lanes).rev() {
            let entry = self.table[(*lane >> 20) as usize];
            *symbol = (entry as u8).wrapping_add(self.base);
            let window = lane.wrapping_mul(entry >> 8);
            let sentinel = window & window.wrapping_neg();
            let at = 2 * (LANES - 1 - words % LANES);
            let word = u32::from(u16::from_le_bytes([group[at], group[at + 1]]));
            let refilled = window
                .wrapping_add((2 * word + 1).wrapping_mul(sentinel >> 16))
                .wrapping_sub(sentinel);
            let empty = window << FLOOR == 0;
            *lane = if empty { refilled } else { window };
            words += usize::from(empty);
        }
        let left = self.stream.len().checked_sub(2 * words).ok_or_else(out_of_words)?;
        self.stream = &self.stream[..left];
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
