//! Decoders of lanes in portable safe Rust.

use super::{Bits8, Bits12, Word};
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::kernels::lanes::{
    ByLimit, CARRIED_BYTES, DecodeLanes, Escaped, FLOOR, LANES, Reading, no_sentinel, out_of_words,
    wrong_end,
};
use crate::kernels::tables::{Tables, Vectors};

/// The decoder of a code.
pub(crate) type Decoder<'t, K> = ByLimit<With<K, Decoder8<'t>>, With<K, Decoder12<'t>>>;

pub(crate) fn decoder<'t, K>(
    kernels: K,
    tables: &'t Tables,
    reading: Reading<'_>,
    states: &[u8],
    stream: &'t [u8],
) -> Result<Decoder<'t, K>> {
    let base = reading.base();
    Ok(match &tables.vectors {
        Vectors::Bits8(_) => {
            ByLimit::Bits8(With { kernels, lanes: Decoder8::new(tables, base, states, stream)? })
        }
        Vectors::Bits12(_) => {
            ByLimit::Bits12(With { kernels, lanes: Decoder12::new(tables, base, states, stream)? })
        }
    })
}

/// Lanes, and a platform whose kernels put escapes into symbols.
#[derive(Debug)]
pub(crate) struct With<K, L> {
    pub(crate) kernels: K,
    pub(crate) lanes: L,
}

/// Lanes that symbols can be pulled from.
pub(crate) trait Pull {
    fn pull(&mut self, symbols: &mut [u8]) -> Result<()>;
    fn finish(&self) -> Result<[u8; CARRIED_BYTES]>;
}

impl<K: Kernels, L: Pull> DecodeLanes for With<K, L> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        self.lanes.pull(symbols)?;
        escaped.complete(self.kernels, symbols);
        Ok(())
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        self.lanes.finish()
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

/// Lanes of 8-bit codes.
///
/// Of a lane's `16 + d` bits the lowest 8 are the *lookahead*, the others the window, at the low end of 16 bits and with
/// bits above that were used already. With `f = 2^(7 - d)` the next 8 bits are the upper half of `2 * f * window`, as
/// a 16-bit word. Dropping a code of `len` bits makes `f * 2^len` of `f`, and nothing else. If that is less than
/// `2^8`, it is right; else the lane needs a word: the lookahead joins the window, and `f / 2^8` is
/// right. The next step does not look at the new lookahead, so it is read only then.
#[derive(Debug)]
pub(crate) struct Decoder8<'a> {
    windows: [u16; LANES],
    factors: [u16; LANES],
    lookahead: [u8; LANES],
    /// 1 for the lanes whose lookahead is due.
    need: [u8; LANES],
    table: &'a [u32; 1 << 8],
    base: u8,
    stream: &'a [u8],
}

impl<'a> Decoder8<'a> {
    pub(crate) fn new(
        tables: &'a Tables,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = tables.decode.as_slice().try_into() else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let (mut windows, mut factors, mut lookahead) = ([0; LANES], [0; LANES], [0; LANES]);
        for lane in 0..LANES {
            let state = Bits8::state(states, lane);
            if state >> FLOOR == 0 {
                return Err(no_sentinel(lane));
            }
            windows[lane] = (state >> 8) as u16;
            lookahead[lane] = state as u8;
            factors[lane] = 1 << (7 - (state.ilog2() - FLOOR));
        }
        Ok(Self { windows, factors, lookahead, need: [0; LANES], table, base, stream })
    }

    #[inline]
    fn step(&mut self, symbols: &mut [u8; LANES], active: usize) -> Result<()> {
        self.refill()?;
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
            let joined = window << 8 | u16::from(self.lookahead[lane]);
            self.windows[lane] = joined & need | window & !need;
        }
        Ok(())
    }

    /// Gives words to the lanes that need one.
    #[inline]
    fn refill(&mut self) -> Result<()> {
        let mut lanes = in_need(&self.need);
        let mut stream = self.stream;
        while lanes != 0 {
            let (&word, rest) = stream.split_last().ok_or_else(out_of_words)?;
            (self.lookahead[last_of(lanes)], stream) = (word, rest);
            lanes &= lanes - 1;
        }
        (self.stream, self.need) = (stream, [0; LANES]);
        Ok(())
    }
}

impl Pull for Decoder8<'_> {
    fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut::<LANES>();
        for symbols in whole {
            self.step(symbols, LANES)?;
        }
        if !partial.is_empty() {
            let mut padded = [0; LANES];
            self.step(&mut padded, partial.len())?;
            partial.copy_from_slice(&padded[..partial.len()]);
        }
        self.refill()?;
        symbols.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_add(self.base));
        Ok(())
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        if self.factors != [1 << 7; LANES] || !self.stream.is_empty() {
            return Err(wrong_end());
        }
        let mut carried = [0; CARRIED_BYTES];
        for lane in 0..LANES {
            (carried[lane], carried[LANES + lane]) =
                (self.lookahead[lane], self.windows[lane] as u8);
        }
        Ok(carried)
    }
}

/// Lanes of 12-bit codes.
///
/// All in one go, lane by lane: words of 16 bits leave no lookahead, and vectors of 32-bit words have no
/// multiplication everywhere. A lane is its window at the top of 32 bits with a sentinel bit below it:
/// `v << (32 - n) | s`, `s = 1 << (31 - n)`, all zeros below. Dropping a code is one multiplication, which moves
/// the sentinel along; "fewer than [`FLOOR`] bits left" is "the lower half is 0"; and a word `b` goes
/// where the sentinel was, with a new sentinel below it: `+ (2b + 1) * (s >> 16) - s`.
#[derive(Debug)]
pub(crate) struct Decoder12<'a> {
    lanes: [u32; LANES],
    table: &'a [u32; 1 << 12],
    base: u8,
    stream: &'a [u8],
}

impl<'a> Decoder12<'a> {
    pub(crate) fn new(
        tables: &'a Tables,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = tables.decode.as_slice().try_into() else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let mut lanes = [0; LANES];
        for (index, lane) in lanes.iter_mut().enumerate() {
            let state = Bits12::state(states, index);
            if state >> FLOOR == 0 {
                return Err(no_sentinel(index));
            }
            let n = state.ilog2();
            *lane = (state ^ 1 << n) << (32 - n) | 1 << (31 - n);
        }
        Ok(Self { lanes, table, base, stream })
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
}

impl Pull for Decoder12<'_> {
    fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut::<LANES>();
        for symbols in whole {
            self.step(symbols)?;
        }
        if !partial.is_empty() {
            self.step(partial)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        let mut carried = [0; CARRIED_BYTES];
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane << FLOOR != 1 << 31 {
                return Err(wrong_end());
            }
            [carried[index], carried[LANES + index]] = ((lane >> FLOOR) as u16).to_le_bytes();
        }
        if self.stream.is_empty() { Ok(carried) } else { Err(wrong_end()) }
    }
}
