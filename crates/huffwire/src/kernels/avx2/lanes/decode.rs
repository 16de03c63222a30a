//! Decoder of lanes for AVX2.
//!
//! High, low and lookahead bytes of the lanes lie in vectors of their own. A window holds its bits at the
//! bottom of the high and the low byte; the bits above them were used already. To drop a code therefore changes only
//! `d`, and to take a byte moves all three bytes up by one. The next 8 bits of a window are the upper byte of its
//! product with `2^(8 - d)`.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use std::ops::Range;

use super::refill::refill_apart;
use super::tables::{Loaded, Shape, Tables, twice};
use super::{Bytes, HALF};
use crate::error::{Error, Result};
use crate::kernels::avx2::Avx2;
use crate::kernels::avx2::interleave::merge_half;
use crate::kernels::avx2::isa::{Fence, load, store, stream, streams_to};
use crate::kernels::lanes::{
    CARRIED_BYTES, DecodeLanes, Escaped, LANES, Marks, ToMerge, no_sentinel, out_of_words,
    wrong_end,
};

/// Words that must be there for a step: those that the step before needs are taken in it.
const AHEAD: usize = 2 * LANES;

/// Decodes pieces of a plane, the first one first; see [`crate::kernels::lanes::Decoder`].
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    proof: Avx2,
    /// By window: symbols, and lengths of codes.
    tables: Tables,
    /// Between pieces: what [`Half`] holds of both.
    high: Bytes,
    low: Bytes,
    lookahead: Bytes,
    bits: Bytes,
    stream: &'a [u8],
}

/// Calls a method compiled for the shape of the decoder's tables.
macro_rules! dispatch {
    ($decoder:ident, $method:ident($($argument:expr),*)) => {{
        let _ = $decoder.proof;
        match $decoder.tables.shape() {
            Shape::Short => $decoder.$method::<{ Shape::Short as u8 }>($($argument),*),
            Shape::Medium => $decoder.$method::<{ Shape::Medium as u8 }>($($argument),*),
            _ => $decoder.$method::<{ Shape::All as u8 }>($($argument),*),
        }
    }};
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(
        proof: Avx2,
        table: &[u32],
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let Ok(table) = <&[u32; 256]>::try_from(table) else {
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
        let (high, low, lookahead) = ([h0, h1], [l0, l1], [r0, r1]);
        let mut bits = [[0; HALF]; 2];
        let lanes = high.as_flattened().iter().zip(bits.as_flattened_mut());
        for (lane, (high, bits)) in lanes.enumerate() {
            // The sentinel is the top bit of the high byte: its place is the number of bits above 16.
            *bits = high.checked_ilog2().ok_or_else(|| no_sentinel(lane))? as u8;
        }
        Ok(Self { proof, tables, high, low, lookahead, bits, stream })
    }

    /// Whole steps.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_symbols<const SHAPE: u8>(&mut self, symbols: &mut [[u8; LANES]]) -> Result<()> {
        self.pull_all::<SHAPE>(symbols.len(), |step, [lower, upper]| {
            let (places, _) = symbols[step].as_chunks_mut();
            store(&mut places[0], lower);
            store(&mut places[1], upper);
        })
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_cached<const SHAPE: u8>(
        &mut self,
        escaped: &mut Escaped<'_>,
        words: ToMerge<'_>,
    ) -> Result<()> {
        self.pull_words::<SHAPE>(escaped, words, |place, vector| store(place, vector))
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_past_caches<const SHAPE: u8>(
        &mut self,
        escaped: &mut Escaped<'_>,
        words: ToMerge<'_>,
    ) -> Result<()> {
        self.pull_words::<SHAPE>(escaped, words, |place, vector| stream(place, vector))
    }

    /// Whole steps, merged with the low bytes of words.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_words<const SHAPE: u8>(
        &mut self,
        escaped: &mut Escaped<'_>,
        words: ToMerge<'_>,
        store: impl Fn(&mut [u8; HALF], __m256i),
    ) -> Result<()> {
        let low = words.other.as_chunks::<HALF>().0.as_chunks::<2>().0;
        let places = words.elements.as_chunks_mut::<HALF>().0.as_chunks_mut::<4>().0;
        let (escape, zero) = match escaped.marks {
            Some(Marks { escape, zero }) => (escape, zero),
            None => (0, 0),
        };
        let escape = _mm256_set1_epi8(escape as i8);
        let zero = _mm256_set1_epi8(zero as i8);
        let count = low.len().min(places.len());
        let (low, places) = (&low[..count], &mut places[..count]);
        self.pull_all::<SHAPE>(count, |step, mut symbols| {
            if escaped.marks.is_some() {
                let marked = |symbols| {
                    let escape = _mm256_cmpeq_epi8(symbols, escape);
                    _mm256_or_si256(escape, _mm256_cmpeq_epi8(symbols, zero))
                };
                let any = _mm256_or_si256(marked(symbols[0]), marked(symbols[1]));
                if _mm256_movemask_epi8(any) != 0 {
                    symbols = replace_marked(escaped, symbols);
                }
            }
            let (low, place) = (&low[step], &mut places[step]);
            let (a, b) = merge_half(load(&low[0]), symbols[0]);
            store(&mut place[0], a);
            store(&mut place[2], b);
            let (a, b) = merge_half(load(&low[1]), symbols[1]);
            store(&mut place[1], a);
            store(&mut place[3], b);
        })
    }

    /// Symbols that do not make a step, if there are any.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_partial<const SHAPE: u8>(&mut self, symbols: &mut [u8]) -> Result<()> {
        if symbols.is_empty() {
            return Ok(());
        }
        let mut active = [[0; HALF]; 2];
        active.as_flattened_mut()[..symbols.len()].fill(0xff);
        let mut padded = [[0; HALF]; 2];
        self.at_the_end::<SHAPE, true>(0..1, &active, &mut |_, [lower, upper]| {
            store(&mut padded[0], lower);
            store(&mut padded[1], upper);
        })?;
        symbols.copy_from_slice(&padded.as_flattened()[..symbols.len()]);
        Ok(())
    }

    /// So many steps, whose symbols go to `put`.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_all<const SHAPE: u8>(
        &mut self,
        count: usize,
        mut put: impl FnMut(usize, [__m256i; 2]),
    ) -> Result<()> {
        let all = [[0xff; HALF]; 2];
        let done = self.pull_steps::<SHAPE, false>(0..count, &all, self.stream, &mut put);
        self.stream = &self.stream[..done.left];
        if done.steps < count {
            self.at_the_end::<SHAPE, false>(done.steps..count, &all, &mut put)?;
        }
        Ok(())
    }

    /// Steps that have few words left, or of which not all lanes are active; in that case, a single one.
    #[cold]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn at_the_end<const SHAPE: u8, const PARTIAL: bool>(
        &mut self,
        steps: Range<usize>,
        active: &Bytes,
        put: &mut impl FnMut(usize, [__m256i; 2]),
    ) -> Result<()> {
        // Zeros before the first word, to be read in advance, but not to be taken.
        let mut words = [0; 2 * AHEAD];
        let there = self.stream.len().min(AHEAD);
        words[2 * AHEAD - there..].copy_from_slice(&self.stream[self.stream.len() - there..]);
        let done = self.pull_steps::<SHAPE, PARTIAL>(steps, active, &words, put);
        let taken = 2 * AHEAD - done.left;
        let left = self.stream.len().checked_sub(taken).ok_or_else(out_of_words)?;
        self.stream = &self.stream[..left];
        Ok(())
    }

    /// Steps, as long as there are [`AHEAD`] words.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn pull_steps<const SHAPE: u8, const PARTIAL: bool>(
        &mut self,
        steps: Range<usize>,
        active: &Bytes,
        stream: &[u8],
        put: &mut impl FnMut(usize, [__m256i; 2]),
    ) -> Done {
        let tables = Loaded::new::<SHAPE>(&self.tables);
        let [mut lower, mut upper] = [0, 1].map(|half| Half {
            high: load(&self.high[half]),
            low: load(&self.low[half]),
            lookahead: load(&self.lookahead[half]),
            bits: load(&self.bits[half]),
            needy: 0,
        });
        let mut left = stream.len();
        let mut done = steps.start;
        for step in steps {
            let Some((_, words)) = stream[..left].split_last_chunk::<AHEAD>() else { break };
            let [_, words] = words.as_chunks::<LANES>().0 else { break };
            let (lower_symbols, lower_lengths) = tables.look_up::<SHAPE>(lower.windows());
            let (upper_symbols, upper_lengths) = tables.look_up::<SHAPE>(upper.windows());
            put(step, [lower_symbols, upper_symbols]);
            left -= take(&mut lower, &mut upper, words);
            if PARTIAL {
                lower.drop(_mm256_and_si256(lower_lengths, load(&active[0])));
                upper.drop(_mm256_and_si256(upper_lengths, load(&active[1])));
            } else {
                lower.drop(lower_lengths);
                upper.drop(upper_lengths);
            }
            done = step + 1;
        }
        if let Some(words) = stream[..left].last_chunk() {
            left -= take(&mut lower, &mut upper, words);
        }
        for (half, lanes) in [lower, upper].into_iter().enumerate() {
            store(&mut self.high[half], lanes.high);
            store(&mut self.low[half], lanes.low);
            store(&mut self.lookahead[half], lanes.lookahead);
            store(&mut self.bits[half], lanes.bits);
        }
        Done { steps: done, left }
    }
}

impl DecodeLanes for Decoder<'_> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut();
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            dispatch!(self, pull_symbols(whole))?;
            dispatch!(self, pull_partial(partial))?;
        }
        escaped.complete(self.proof, symbols);
        Ok(())
    }

    /// Words alone.
    fn pull_merged(&mut self, escaped: &mut Escaped<'_>, words: ToMerge<'_>) -> Result<()> {
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            if words.cache.streams() && streams_to(words.elements) {
                let _fence = Fence::new();
                dispatch!(self, pull_past_caches(escaped, words))
            } else {
                dispatch!(self, pull_cached(escaped, words))
            }
        }
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        if self.bits != [[0; HALF]; 2] || !self.stream.is_empty() {
            return Err(wrong_end());
        }
        let mut carried = [0; CARRIED_BYTES];
        carried[..LANES].copy_from_slice(self.lookahead.as_flattened());
        carried[LANES..].copy_from_slice(self.low.as_flattened());
        Ok(carried)
    }
}

/// One step in ten has an escape.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn replace_marked(escaped: &mut Escaped<'_>, symbols: [__m256i; 2]) -> [__m256i; 2] {
    let Some(Marks { escape, zero }) = escaped.marks else { return symbols };
    let mut bytes = [[0; HALF]; 2];
    store(&mut bytes[0], symbols[0]);
    store(&mut bytes[1], symbols[1]);
    let places = |symbol: u8| {
        let wanted = _mm256_set1_epi8(symbol as i8);
        let [lower, upper] = symbols.map(|symbols| _mm256_cmpeq_epi8(symbols, wanted));
        let [lower, upper] = [lower, upper].map(|mask| _mm256_movemask_epi8(mask) as u32);
        u64::from(upper) << HALF | u64::from(lower)
    };
    escaped.wrong |= zero != escape && places(zero) != 0;
    let mut due = places(escape);
    while due != 0 {
        match escaped.left.split_first() {
            Some((&value, left)) => {
                bytes.as_flattened_mut()[due.trailing_zeros() as usize % LANES] = value;
                escaped.left = left;
            }
            None => escaped.wrong = true,
        }
        due &= due - 1;
    }
    [load(&bytes[0]), load(&bytes[1])]
}

/// What was done: steps before this one, and so many words are left.
struct Done {
    steps: usize,
    left: usize,
}

/// Half of the lanes.
#[derive(Clone, Copy)]
struct Half {
    /// High and low bytes of the windows, and the bytes of lookahead.
    high: __m256i,
    low: __m256i,
    lookahead: __m256i,
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

    /// Drops codes. Lanes that then have fewer than 16 bits need a word.
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
        self.low = either(self.lookahead, self.low);
        self.lookahead = _mm256_andnot_si256(need, self.lookahead);
    }

    /// Gives words to those in need: the last ones of `words[..before]`, where `before` is at least 32.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn take(&mut self, words: &[u8; LANES], before: &mut usize) {
        let given = refill_apart(words, before, self.needy);
        self.lookahead = _mm256_or_si256(self.lookahead, given);
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
