//! Encoder of lanes for AVX2.
//!
//! Windows are words. Those of lanes at even bytes of a half lie in one vector, those at odd bytes in another. A window
//! holds its bits on top, the next to be read at the low end of them. To add a code is to shift the window to the right
//! by its length (the upper half of a product with `2^(16 - len)`) and to put the code above, which comes from the
//! table where it belongs: at the top of a byte.
//!
//! The byte that goes to the lookahead lies `d` bits below the top of the window: the upper byte of the lower
//! half of a product with `2^d`.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::refill::put_together;
use super::tables::{Loaded, Shape, Tables, twice};
use super::{Bytes, HALF};
use crate::error::Result;
use crate::kernels::avx2::Avx2;
use crate::kernels::avx2::interleave::split_half;
use crate::kernels::avx2::isa::{fetch, fetch_to_write, load, store};
use crate::kernels::lanes::{
    CARRIED_BYTES, CachePolicy, EncodeLanes, Escapes, LANES, SlotMap, ToSplit, no_room,
};
use crate::kernels::tables::{Bits8, MARK};

/// In a table of code lengths: this slot takes the escape, and the symbol has to be kept.
const KEEP: u8 = 0x40;

/// Encodes pieces of a plane, the last one first; see [`crate::kernels::lanes::Encoder`].
#[derive(Debug)]
pub(crate) struct Encoder {
    proof: Avx2,
    map: SlotMap,
    /// By slot: codes at the top of a byte, and their lengths.
    tables: Tables,
    /// Between pieces: what [`Half`] holds of both.
    even: Bytes,
    odd: Bytes,
    lookahead: Bytes,
    bits: Bytes,
}

/// Calls a method compiled for the shape of the encoder's tables.
macro_rules! dispatch {
    ($encoder:ident, $method:ident($($argument:expr),*)) => {{
        let _ = $encoder.proof;
        match $encoder.tables.shape() {
            Shape::Below64 => $encoder.$method::<{ Shape::Below64 as u8 }>($($argument),*),
            Shape::Below128 => $encoder.$method::<{ Shape::Below128 as u8 }>($($argument),*),
            _ => $encoder.$method::<{ Shape::All as u8 }>($($argument),*),
        }
    }};
}

impl Encoder {
    pub(crate) fn new(
        proof: Avx2,
        tables: &Bits8,
        slots: usize,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let mut codes = tables.codes;
        for (code, length) in codes.iter_mut().zip(&tables.lengths) {
            *code = (u32::from(*code) << (8 - (length & 0x0f))) as u8;
        }
        // MARK is not to be seen by `vpshufb`, to which bit 7 of an index means another thing.
        let lengths = tables.lengths.map(|length| match length & MARK {
            MARK if keep_escapes => length & 0x0f | KEEP,
            _ => length & 0x0f,
        });
        let shape = match slots {
            0..=64 => Shape::Below64,
            65..=128 => Shape::Below128,
            _ => Shape::All,
        };
        let tables = Tables::new(shape, [&codes, &lengths]);
        let (low, high) = carried.split_at(LANES);
        let lookahead = std::array::from_fn(|half| std::array::from_fn(|i| low[HALF * half + i]));
        // The upper byte of the word at byte `i`, if `i` is of the right parity.
        let windows = |parity| {
            std::array::from_fn(|half| {
                std::array::from_fn(
                    |i| if i % 2 == 1 { high[HALF * half + i - 1 + parity] } else { 0 },
                )
            })
        };
        let (even, odd) = (windows(0), windows(1));
        Self { proof, map, tables, even, odd, lookahead, bits: [[0; HALF]; 2] }
    }

    /// Symbols that do not make a step, if there are any.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn push_partial<const SHAPE: u8>(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        if symbols.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        let mut padded = [[0; HALF]; 2];
        padded.as_flattened_mut()[..symbols.len()].copy_from_slice(symbols);
        let vectors = [load(&padded[0]), load(&padded[1])];
        self.look_up_steps::<SHAPE>(1, &mut batch, |_| vectors, |_, _| {});
        let mut active = [[0xff; HALF]; 2];
        active.as_flattened_mut()[symbols.len()..].fill(0);
        batch.lengths[0].as_flattened_mut()[symbols.len()..].fill(0);
        keep_symbols(&batch.lengths[0], vectors, escapes);
        for (half, active) in active.iter().enumerate() {
            let before = self.half(half);
            self.half_steps(half, 1, &mut batch);
            let mut after = self.half(half);
            after.freeze(&before, load(active));
            self.put_half(half, &after);
        }
        batch.write_steps(1, stream, end)
    }

    /// Whole steps.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn push_symbols<const SHAPE: u8>(
        &mut self,
        symbols: &[[u8; LANES]],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let mut batch = Batch::new();
        for symbols in symbols.rchunks(BATCH) {
            let vectors = |step: usize| {
                let (halves, _) = symbols[step].as_chunks();
                [load(&halves[0]), load(&halves[1])]
            };
            self.look_up_steps::<SHAPE>(symbols.len(), &mut batch, vectors, |lengths, symbols| {
                keep_symbols(lengths, symbols, escapes);
            });
            self.half_steps(0, symbols.len(), &mut batch);
            self.half_steps(1, symbols.len(), &mut batch);
            batch.write_steps(symbols.len(), stream, end)?;
        }
        Ok(())
    }

    /// Whole steps of words, of which the high bytes are the symbols.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn push_words<const SHAPE: u8>(
        &mut self,
        words: &[u8],
        low: &mut [u8],
        cache: CachePolicy<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let mut batch = Batch::new();
        // What comes next is fetched forwards: memory answers faster then.
        let (ahead, mut fetched) = match cache {
            CachePolicy::Cached => (None, 0),
            CachePolicy::Fetching { ahead } | CachePolicy::Streaming { ahead } => (Some(ahead), 0),
        };
        let groups = words.as_chunks::<HALF>().0.as_chunks::<4>().0;
        let places = low.as_chunks_mut::<HALF>().0.as_chunks_mut::<2>().0;
        let count = groups.len().min(places.len());
        let groups = groups[..count].rchunks(BATCH);
        for (groups, places) in groups.zip(places[..count].rchunks_mut(BATCH)) {
            let vectors = |step: usize| {
                let (group, place): (&[_; 4], &mut [_; 2]) = (&groups[step], &mut places[step]);
                if let Some(ahead) = ahead {
                    fetch(ahead, fetched);
                    fetched += 2 * LANES;
                    fetch_to_write(stream, *end + AHEAD + LANES / 2 * step);
                }
                let (lower, lower_symbols) = split_half(load(&group[0]), load(&group[2]));
                let (upper, upper_symbols) = split_half(load(&group[1]), load(&group[3]));
                store(&mut place[0], lower);
                store(&mut place[1], upper);
                [lower_symbols, upper_symbols]
            };
            self.look_up_steps::<SHAPE>(groups.len(), &mut batch, vectors, |lengths, symbols| {
                keep_symbols(lengths, symbols, escapes);
            });
            self.half_steps(0, groups.len(), &mut batch);
            self.half_steps(1, groups.len(), &mut batch);
            batch.write_steps(groups.len(), stream, end)?;
        }
        Ok(())
    }

    /// Looks up the codes of some steps, the last one first, and those of their symbols in `vectors`; calls `keep` with
    /// the lengths and the symbols of steps that have symbols to keep.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn look_up_steps<const SHAPE: u8>(
        &self,
        count: usize,
        batch: &mut Batch,
        mut vectors: impl FnMut(usize) -> [__m256i; 2],
        mut keep: impl FnMut(&Bytes, [__m256i; 2]),
    ) {
        let tables = Loaded::new::<SHAPE>(&self.tables);
        let base = _mm256_set1_epi8(self.map.base as i8);
        let last = _mm256_set1_epi8(self.map.last as i8);
        let places = batch.codes.iter_mut().zip(&mut batch.lengths);
        for (step, (codes, lengths)) in (0..count).rev().zip(places) {
            let symbols = vectors(step);
            let [lower, upper] = symbols;
            let slots = |symbols| _mm256_min_epu8(_mm256_sub_epi8(symbols, base), last);
            let (lower_codes, lower_lengths) = tables.look_up::<SHAPE>(slots(lower));
            let (upper_codes, upper_lengths) = tables.look_up::<SHAPE>(slots(upper));
            store(&mut codes[0], lower_codes);
            store(&mut codes[1], upper_codes);
            store(&mut lengths[0], lower_lengths);
            store(&mut lengths[1], upper_lengths);
            let any = _mm256_or_si256(lower_lengths, upper_lengths);
            if _mm256_testz_si256(any, _mm256_set1_epi8(KEEP as i8)) == 0 {
                keep(lengths, symbols);
            }
        }
    }

    /// Puts the codes of some steps into half of the lanes.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn half_steps(&mut self, half: usize, count: usize, batch: &mut Batch) {
        let mut lanes = self.half(half);
        let codes = batch.codes.iter().zip(&batch.lengths);
        let places = batch.bytes.iter_mut().zip(&mut batch.emit);
        for ((codes, lengths), (bytes, emit)) in codes.zip(places).take(count) {
            let (bytes, _) = bytes.as_chunks_mut::<HALF>();
            store(&mut bytes[half], lanes.lookahead);
            emit[half] = lanes.step(load(&codes[half]), load(&lengths[half]));
        }
        self.put_half(half, &lanes);
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn half(&self, half: usize) -> Half {
        Half {
            even: load(&self.even[half]),
            odd: load(&self.odd[half]),
            lookahead: load(&self.lookahead[half]),
            bits: load(&self.bits[half]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn put_half(&mut self, half: usize, lanes: &Half) {
        store(&mut self.even[half], lanes.even);
        store(&mut self.odd[half], lanes.odd);
        store(&mut self.lookahead[half], lanes.lookahead);
        store(&mut self.bits[half], lanes.bits);
    }
}

impl EncodeLanes for Encoder {
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let (whole, partial) = symbols.as_chunks();
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            dispatch!(self, push_partial(partial, stream, end, escapes))?;
            dispatch!(self, push_symbols(whole, stream, end, escapes))
        }
    }

    /// Words alone.
    fn push_split(
        &mut self,
        words: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        let ToSplit { elements, other, cache, .. } = words;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe { dispatch!(self, push_words(elements, other, cache, stream, end, escapes)) }?;
        Ok(true)
    }

    fn finish(&self, states: &mut [u8]) {
        for lane in 0..LANES {
            let (half, i) = (lane / HALF, lane % HALF);
            let windows = if i % 2 == 0 { &self.even[half] } else { &self.odd[half] };
            let window = u16::from_le_bytes([windows[i & !1], windows[i | 1]]);
            // From 8 + d bits on top to 8 + d bits at the bottom and a sentinel above them.
            let bits = u32::from(self.bits[half][i]);
            let window = u32::from(window) >> (8 - bits) | 1 << (8 + bits);
            let [middle, high, ..] = window.to_le_bytes();
            for (place, byte) in [self.lookahead[half][i], middle, high].into_iter().enumerate() {
                states[LANES * place + lane] = byte;
            }
        }
    }
}

/// How far ahead room for the stream is fetched: some fifty steps.
const AHEAD: usize = 1024;

/// Steps that are done at a time.
const BATCH: usize = 16;

/// What the parts of some steps hand to each other.
#[repr(align(64))]
struct Batch {
    codes: [Bytes; BATCH],
    lengths: [Bytes; BATCH],
    /// What each lane emits, if it does.
    bytes: [[u8; LANES]; BATCH],
    /// Which lanes do, by half.
    emit: [[u32; 2]; BATCH],
}

impl Batch {
    const fn new() -> Self {
        Self {
            codes: [[[0; HALF]; 2]; BATCH],
            lengths: [[[0; HALF]; 2]; BATCH],
            bytes: [[0; LANES]; BATCH],
            emit: [[0; 2]; BATCH],
        }
    }

    /// Puts what the lanes emit into the stream.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn write_steps(&self, count: usize, stream: &mut [u8], end: &mut usize) -> Result<()> {
        let available = stream.len();
        for (bytes, &[lower, upper]) in self.bytes.iter().zip(&self.emit).take(count) {
            let room = stream.get_mut(*end..).and_then(<[u8]>::first_chunk_mut);
            let Some(room) = room else { return Err(no_room(*end + LANES, available)) };
            *end += put_together(bytes, u64::from(upper) << HALF | u64::from(lower), room);
        }
        Ok(())
    }
}

/// Where [`KEEP`] is set.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn flags(lengths: &Bytes) -> u64 {
    let [lower, upper] = lengths.each_ref().map(|lengths| {
        let lengths = load(lengths);
        _mm256_movemask_epi8(_mm256_add_epi8(lengths, lengths)) as u32
    });
    u64::from(upper) << HALF | u64::from(lower)
}

/// Few symbols take the escape: a vector in ten has one.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn keep_symbols(lengths: &Bytes, symbols: [__m256i; 2], escapes: &mut Escapes) {
    let mut bytes = [[0; HALF]; 2];
    store(&mut bytes[0], symbols[0]);
    store(&mut bytes[1], symbols[1]);
    let mut keep = flags(lengths);
    for place in escapes.front(keep.count_ones() as usize) {
        *place = bytes.as_flattened()[keep.trailing_zeros() as usize % LANES];
        keep &= keep.wrapping_sub(1);
    }
}

/// Half of the lanes.
#[derive(Clone, Copy)]
struct Half {
    /// Windows of the lanes at even and at odd bytes.
    even: __m256i,
    odd: __m256i,
    lookahead: __m256i,
    /// Bits above 16.
    bits: __m256i,
}

impl Half {
    /// One step: adds codes. Returns the lanes that emit what was the lookahead before.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn step(&mut self, codes: __m256i, lengths: __m256i) -> u32 {
        let upper = _mm256_set1_epi16(0xff00_u16 as i16);
        let lower = _mm256_set1_epi16(0x00ff);
        let to_due = twice(&[1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0]);
        let to_due = _mm256_shuffle_epi8(to_due, self.bits);
        let even_due = _mm256_mullo_epi16(self.even, _mm256_and_si256(to_due, lower));
        let odd_due = _mm256_mullo_epi16(self.odd, _mm256_srli_epi16::<8>(to_due));
        let due =
            _mm256_or_si256(_mm256_srli_epi16::<8>(even_due), _mm256_and_si256(odd_due, upper));

        let factors = twice(&[0, 128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0]);
        let factors = _mm256_shuffle_epi8(factors, lengths);
        let even = _mm256_mulhi_epu16(self.even, _mm256_slli_epi16::<8>(factors));
        let odd = _mm256_mulhi_epu16(self.odd, _mm256_and_si256(factors, upper));
        self.even = _mm256_or_si256(even, _mm256_slli_epi16::<8>(codes));
        self.odd = _mm256_or_si256(odd, _mm256_and_si256(codes, upper));

        let sum = _mm256_add_epi8(self.bits, lengths);
        self.bits = _mm256_and_si256(sum, _mm256_set1_epi8(7));
        // Bit 3 to bit 7, all that matters here.
        let emit = _mm256_slli_epi16::<4>(sum);
        self.lookahead = _mm256_blendv_epi8(self.lookahead, due, emit);
        _mm256_movemask_epi8(emit) as u32
    }

    /// Takes back a step of lanes that are not active, for which codes had length 0.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn freeze(&mut self, before: &Self, active: __m256i) {
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(active));
        let odd = _mm256_srai_epi16::<8>(active);
        self.even = _mm256_blendv_epi8(before.even, self.even, even);
        self.odd = _mm256_blendv_epi8(before.odd, self.odd, odd);
    }
}
