//! The decoder.
//!
//! High, low and reserve bytes of the lanes lie in vectors of their own. A window holds its bits at the
//! bottom of high and low byte, and above them bits that were used already: dropping a code changes nothing but
//! `d`, and to take a byte is to move all up by a byte. The next 8 bits of a window are the upper byte of its
//! product with `2^(8 - d)`.

use core::arch::x86_64::*;

use super::deal::deal_apart;
use super::tables::{Loaded, Shape, Tables, twice};
use super::{Bytes, HALF};
use crate::codebook::Codebook;
use crate::error::{Error, Result};
use crate::lanes::{INITIAL_BYTES, LANES, no_sentinel, out_of_words, wrong_end};
use crate::platform::Avx2;
use crate::platform::avx2::{load, store};

/// Words that must be there for a step: those that the step before needs are dealt in it.
const AHEAD: usize = 2 * LANES;

/// Decodes pieces of a plane, the first one first; see [`crate::lanes::Decoder`].
#[derive(Debug)]
pub(in crate::lanes) struct Decoder<'a> {
    proof: Avx2,
    /// By window: symbols, and lengths of codes.
    tables: Tables,
    /// Between pieces: what [`Half`] holds of both.
    high: Bytes,
    low: Bytes,
    reserve: Bytes,
    bits: Bytes,
    stream: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(in crate::lanes) fn new(
        proof: Avx2,
        book: &Codebook,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = <&[u32; 256]>::try_from(book.decode_table()) else {
            return Err(Error::codebook("a codebook of the other code limit"));
        };
        let symbols = table.map(|entry| (entry as u8).wrapping_add(base));
        let lengths = table.map(|entry| (entry >> 8).trailing_zeros() as u8);
        // Codes are sorted by length: if these have no more bits, neither have those below.
        let shape = match (lengths[0xdf], lengths[0xbf]) {
            (..=4, _) => Shape::Short,
            (_, ..=6) => Shape::Medium,
            _ => Shape::All,
        };
        let tables = Tables::new(shape, [&symbols, &lengths]);
        let (halves, _) = states.as_chunks::<HALF>();
        let &[r0, r1, l0, l1, h0, h1] = halves else { return Err(out_of_words()) };
        let (high, low, reserve) = ([h0, h1], [l0, l1], [r0, r1]);
        let mut bits = [[0; HALF]; 2];
        let lanes = high.as_flattened().iter().zip(bits.as_flattened_mut());
        for (lane, (high, bits)) in lanes.enumerate() {
            // The sentinel is the top bit of the high byte: its place is the number of bits above 16.
            *bits = high.checked_ilog2().ok_or_else(|| no_sentinel(lane))? as u8;
        }
        Ok(Self { proof, tables, high, low, reserve, bits, stream })
    }

    pub(in crate::lanes) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let _ = self.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match self.tables.shape() {
                Shape::Short => self.pull_with::<{ Shape::Short as u8 }>(symbols),
                Shape::Medium => self.pull_with::<{ Shape::Medium as u8 }>(symbols),
                _ => self.pull_with::<{ Shape::All as u8 }>(symbols),
            }
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_with<const SHAPE: u8>(&mut self, symbols: &mut [u8]) -> Result<()> {
        let (mut whole, partial) = symbols.as_chunks_mut::<LANES>();
        let all = [[0xff; HALF]; 2];
        let done = self.steps::<SHAPE, false>(whole, &all, self.stream);
        self.stream = &self.stream[..done.left];
        whole = &mut whole[done.steps..];
        if !whole.is_empty() {
            self.last_steps::<SHAPE, false>(whole, &all)?;
        }
        if !partial.is_empty() {
            let mut active = [[0; HALF]; 2];
            active.as_flattened_mut()[..partial.len()].fill(0xff);
            let mut padded = [0; LANES];
            self.last_steps::<SHAPE, true>(std::slice::from_mut(&mut padded), &active)?;
            partial.copy_from_slice(&padded[..partial.len()]);
        }
        Ok(())
    }

    /// Steps that have few words left, or of which not all lanes are active; in that case, a single one.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn last_steps<const SHAPE: u8, const PARTIAL: bool>(
        &mut self,
        places: &mut [[u8; LANES]],
        active: &Bytes,
    ) -> Result<()> {
        // Zeros before the first word, to be read in advance, but not to be taken.
        let mut words = [0; 2 * AHEAD];
        let there = self.stream.len().min(AHEAD);
        words[2 * AHEAD - there..].copy_from_slice(&self.stream[self.stream.len() - there..]);
        let done = self.steps::<SHAPE, PARTIAL>(places, active, &words);
        let taken = 2 * AHEAD - done.left;
        let left = self.stream.len().checked_sub(taken).ok_or_else(out_of_words)?;
        self.stream = &self.stream[..left];
        Ok(())
    }

    /// Steps, as long as there are [`AHEAD`] words.
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn steps<const SHAPE: u8, const PARTIAL: bool>(
        &mut self,
        places: &mut [[u8; LANES]],
        active: &Bytes,
        stream: &[u8],
    ) -> Done {
        let tables = Loaded::new::<SHAPE>(&self.tables);
        let [mut lower, mut upper] = [0, 1].map(|half| Half {
            high: load(&self.high[half]),
            low: load(&self.low[half]),
            reserve: load(&self.reserve[half]),
            bits: load(&self.bits[half]),
            needy: 0,
        });
        let mut left = stream.len();
        let mut steps = 0;
        for place in places {
            let Some((_, words)) = stream[..left].split_last_chunk::<AHEAD>() else { break };
            let [_, words] = words.as_chunks::<LANES>().0 else { break };
            let (places, _) = place.as_chunks_mut::<HALF>();
            let (symbols, lower_lengths) = tables.look_up::<SHAPE>(lower.windows());
            store(&mut places[0], symbols);
            let (symbols, upper_lengths) = tables.look_up::<SHAPE>(upper.windows());
            store(&mut places[1], symbols);
            left -= take(&mut lower, &mut upper, words);
            if PARTIAL {
                lower.drop(_mm256_and_si256(lower_lengths, load(&active[0])));
                upper.drop(_mm256_and_si256(upper_lengths, load(&active[1])));
            } else {
                lower.drop(lower_lengths);
                upper.drop(upper_lengths);
            }
            steps += 1;
        }
        if let Some(words) = stream[..left].last_chunk() {
            left -= take(&mut lower, &mut upper, words);
        }
        for (half, lanes) in [lower, upper].into_iter().enumerate() {
            store(&mut self.high[half], lanes.high);
            store(&mut self.low[half], lanes.low);
            store(&mut self.reserve[half], lanes.reserve);
            store(&mut self.bits[half], lanes.bits);
        }
        Done { steps, left }
    }

    pub(in crate::lanes) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        if self.bits != [[0; HALF]; 2] || !self.stream.is_empty() {
            return Err(wrong_end());
        }
        let mut initial = [0; INITIAL_BYTES];
        initial[..LANES].copy_from_slice(self.reserve.as_flattened());
        initial[LANES..].copy_from_slice(self.low.as_flattened());
        Ok(initial)
    }
}

/// What was done: so many steps, and so many words are left.
struct Done {
    steps: usize,
    left: usize,
}

/// Half of the lanes.
#[derive(Clone, Copy)]
struct Half {
    /// High and low bytes of the windows, and the bytes in reserve.
    high: __m256i,
    low: __m256i,
    reserve: __m256i,
    /// Bits above 16.
    bits: __m256i,
    /// The lanes that dropped a code in the last step, and need a word now.
    needy: u32,
}

impl Half {
    /// The next 8 bits of each lane.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn windows(&self) -> __m256i {
        let low_factors = twice(&[0, 128, 64, 32, 16, 8, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        let high_factors = twice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let low_factors = _mm256_shuffle_epi8(low_factors, self.bits);
        let high_factors = _mm256_shuffle_epi8(high_factors, self.bits);
        let first = _mm256_mullo_epi16(
            _mm256_unpacklo_epi8(self.low, self.high),
            _mm256_unpacklo_epi8(low_factors, high_factors),
        );
        let second = _mm256_mullo_epi16(
            _mm256_unpackhi_epi8(self.low, self.high),
            _mm256_unpackhi_epi8(low_factors, high_factors),
        );
        _mm256_packus_epi16(_mm256_srli_epi16::<8>(first), _mm256_srli_epi16::<8>(second))
    }

    /// Drops codes; whoever has fewer than 16 bits then is in need of a word.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn drop(&mut self, lengths: __m256i) {
        let left = _mm256_sub_epi8(self.bits, lengths);
        self.bits = _mm256_and_si256(left, _mm256_set1_epi8(7));
        self.needy = _mm256_movemask_epi8(left) as u32;
        let need = _mm256_cmpgt_epi8(_mm256_setzero_si256(), left);
        let either =
            |a, b| _mm256_or_si256(_mm256_and_si256(need, a), _mm256_andnot_si256(need, b));
        self.high = either(self.low, self.high);
        self.low = either(self.reserve, self.low);
        self.reserve = _mm256_andnot_si256(need, self.reserve);
    }

    /// Gives words to those in need: the last ones of `words[..before]`, where `before` is at least 32.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn take(&mut self, words: &[u8; LANES], before: &mut usize) {
        let dealt = deal_apart(words, before, self.needy);
        self.reserve = _mm256_or_si256(self.reserve, dealt);
    }
}

/// Gives words to all lanes in need; returns how many.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn take(lower: &mut Half, upper: &mut Half, words: &[u8; LANES]) -> usize {
    let mut before = LANES;
    upper.take(words, &mut before);
    lower.take(words, &mut before);
    LANES - before
}
