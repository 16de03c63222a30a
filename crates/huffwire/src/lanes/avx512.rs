//! The lane coder for AVX-512 with VBMI2: codes of at most 8 bits, all 64 lanes in a few registers.
//!
//! # Bits of a lane
//!
//! A lane has 16 to 23 unread bits. Only `d = n - 16` is kept, and it costs next to nothing: adding a code
//! of `len` bits, or dropping one, is `d ± len`, bit 3 of the result tells whether a byte moves, and its
//! low three bits are the new `d`, moved byte or not.
//!
//! A lane is a *window* of 8 to 15 bits and a byte in *reserve* below it. The windows of 64 lanes are 16-bit
//! words in two registers, one for the lanes at even bytes of a 64-byte
//! vector, one for those at odd bytes: then going from bytes to words takes shifts and bitwise
//! selections, not the shuffles that keep port 5 of Intel's processors busy.
//!
//! # Encoder
//!
//! A window holds its bits on top, the next to be read at the low end of them. A funnel shift to the
//! right by `len` lets the code in from above and drops at the bottom what went to the reserve: code and
//! count may carry garbage in their upper bits, since the funnel shift uses only the lower ones. The
//! byte that goes to the reserve lies `d` bits below the top; the one that was there is emitted: "compress"
//! writes the words of a step in the order of lanes, as the format has them.
//!
//! # Decoder
//!
//! A window holds its bits at the bottom, and above them bits that were used already: dropping a code
//! changes nothing but `d`. To take a byte is to move all up by a byte, which planes of high, low and
//! reserve bytes do under a mask; the reserve gets its byte by "expand". "Multishift" takes
//! 8 bits of 64 from any bit on, for eight lanes at once: there are the indices for the tables.
//!
//! # Tables
//!
//! `vpermb` looks up 64 bytes in a table of 64, `vpermi2b` in one of 128, at three times the cost. All
//! books with at most 64 slots encode with `vpermb`. A book whose codes of over 6 bits all lie in the top
//! quarter of the code space, as narrow ones do by definition, decodes with two: one on the top six bits
//! of a window, and one with corrections on the low six bits of windows from 0xc0 on. The length of
//! a code is looked up by its slot, where there are at most 64 slots: one `vpermb` instead of two; and in
//! books decoded with 256 entries where there are at most 128, one `vpermi2b` instead of two and a blend.
//!
//! # Splitting and merging
//!
//! Words are dealt by shifts and selections. The signs of 64 bytes are one mask, which lies in memory as packed signs
//! do.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::{
    Escaped, Escapes, Flow, INITIAL_BYTES, Join, LANES, Reading, SlotMap, ToMerge, ToSplit,
    no_room, no_sentinel, out_of_words, wrong_end,
};
use crate::codebook::{Codebook, MARK, Tables};
use crate::deal::avx512 as deal;
use crate::error::Result;
use crate::platform::Avx512;
use crate::platform::avx512::{
    Fence, Line, fetch, fetch_to_write, lines, load, load_some, store, store_some, stream,
};

/// Bytes at odd places, as the mask of a vector.
const ODD: __mmask64 = 0xaaaa_aaaa_aaaa_aaaa;
/// All lanes.
const ALL: __mmask64 = !0;
/// `vpternlogd`: `a & b | c`.
const A_AND_B_OR_C: i32 = 0xea;
/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

/// The bytes of a table of 64, 128 or 256 entries at the places in `index`, of which the lower six, seven or all bits
/// count.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn look_up<const ENTRIES: usize>(table: &[__m512i; 4], index: __m512i) -> __m512i {
    if ENTRIES == 128 {
        _mm512_permutex2var_epi8(table[0], index, table[1])
    } else if ENTRIES == 256 {
        let lower = _mm512_permutex2var_epi8(table[0], index, table[1]);
        let upper = _mm512_permutex2var_epi8(table[2], index, table[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), lower, upper)
    } else {
        _mm512_permutexvar_epi8(index, table[0])
    }
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn load_table(bytes: &[u8; 256]) -> [__m512i; 4] {
    let (quarters, _) = bytes.as_chunks::<64>();
    [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])]
}

/// Calls a method compiled for tables as large as the encoder's book needs.
macro_rules! dispatch_entries {
    ($encoder:expr, $method:ident::<_ $(, $input:ident)?>($($argument:expr),*)) => {{
        let encoder = &mut *$encoder;
        let _ = encoder.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match encoder.slots {
                ..=64 => encoder.$method::<64 $(, $input)?>($($argument),*),
                ..=128 => encoder.$method::<128 $(, $input)?>($($argument),*),
                _ => encoder.$method::<256 $(, $input)?>($($argument),*),
            }
        }
    }};
}

/// Encodes pieces of a plane, the last one first; see [`super::Encoder`].
#[derive(Debug)]
pub(super) struct Encoder<'b> {
    proof: Avx512,
    tables: &'b Tables,
    slots: usize,
    map: SlotMap,
    keep_escapes: bool,
    /// Between pieces: what [`EncoderLanes`] holds.
    lanes: [[u8; 64]; 4],
}

impl<'b> Encoder<'b> {
    pub(super) fn new(
        proof: Avx512,
        book: &Codebook,
        tables: &'b Tables,
        map: SlotMap,
        initial: &[u8; INITIAL_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let slots = book.lengths().alphabet().slots();
        // SAFETY: the proof says that the processor has the instructions.
        let lanes = unsafe { EncoderLanes::begin(initial) };
        Self { proof, tables, slots, map, keep_escapes, lanes }
    }

    pub(super) fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let (elements, partial) = symbols.split_at(symbols.len() / LANES * LANES);
        // Nothing is split.
        let whole = ToSplit { join: Join::High, elements, other: &mut [], flow: Flow::Cached };
        dispatch_entries!(self, push_partial::<_>(partial, stream, end, escapes))?;
        dispatch_entries!(self, push_whole::<_, SYMBOLS>(whole, stream, end, escapes)).map(|_| ())
    }

    /// See [`super::Encoder::push_split`].
    pub(super) fn push_split(
        &mut self,
        input: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        match (input.join, input.flow) {
            (Join::High, Flow::Cached) => {
                dispatch_entries!(self, push_whole::<_, WORDS>(input, stream, end, escapes))
            }
            (Join::High, Flow::Fetching { .. }) => {
                dispatch_entries!(self, push_whole::<_, FETCHED>(input, stream, end, escapes))
            }
            (Join::High, Flow::Streaming { .. }) => {
                let _fence = Fence::new();
                dispatch_entries!(self, push_whole::<_, STREAMED>(input, stream, end, escapes))
            }
            (Join::Signs { .. }, Flow::Cached) => {
                dispatch_entries!(self, push_whole::<_, SIGNED>(input, stream, end, escapes))
            }
            // There is too little beside the stream to send it past the caches.
            (Join::Signs { .. }, Flow::Fetching { .. } | Flow::Streaming { .. }) => {
                dispatch_entries!(
                    self,
                    push_whole::<_, SIGNED_FETCHED>(input, stream, end, escapes)
                )
            }
        }
    }

    /// Symbols that do not make a step, if there are any.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn push_partial<const ENTRIES: usize>(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        if symbols.is_empty() {
            return Ok(());
        }
        let mut padded = [0; LANES];
        padded[..symbols.len()].copy_from_slice(symbols);
        let active = !(ALL << symbols.len());
        let tables = EncodeTables::new(self);
        let mut lanes = EncoderLanes::load(&self.lanes);
        let (codes, lengths) = tables.look_up::<ENTRIES>(load(&padded));
        let keep = _mm512_movepi8_mask(lengths) & active;
        keep_symbols(keep, load(&padded), escapes);
        let available = stream.len();
        let room = stream.get_mut(*end..).and_then(<[u8]>::first_chunk_mut);
        let room = room.ok_or_else(|| no_room(*end + LANES, available))?;
        *end += lanes.step(codes, _mm512_maskz_mov_epi8(active, lengths), room);
        self.lanes = lanes.store();
        Ok(())
    }

    /// Whole steps: [`SYMBOLS`]; or what [`ToSplit`] is about, 16-bit [`WORDS`] or [`SIGNED`] bytes, perhaps with
    /// others fetched meanwhile. `false` when a bit above a sign is set.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn push_whole<const ENTRIES: usize, const INPUT: u8>(
        &mut self,
        input: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        let ToSplit { join, elements, other, flow } = input;
        let ahead = match flow {
            Flow::Cached => &[],
            // All that is fetched should be there.
            Flow::Fetching { ahead } | Flow::Streaming { ahead } => {
                if ahead.len() < elements.len() { elements } else { ahead }
            }
        };
        let tables = EncodeTables::new(self);
        // Of so many symbols some always take the escape, and a branch is as often as not wrongly predicted.
        let often = ENTRIES > 64 && self.keep_escapes;
        let signs = SignBits::new(join);
        let mut all = _mm512_setzero_si512();
        let mut lanes = EncoderLanes::load(&self.lanes);
        let mut at = *end;
        let vectors = elements.as_chunks::<64>().0;
        let (mut low, mut packed): (&mut [u8], &mut [[u8; 8]]) = (&mut [], &mut []);
        let steps = match INPUT {
            SYMBOLS => vectors.len(),
            SIGNED | SIGNED_FETCHED => {
                packed = other.as_chunks_mut().0;
                packed.len().min(vectors.len())
            }
            _ => {
                low = other;
                low.len().min(elements.len() / 2) / 64
            }
        };
        let mut places = match INPUT {
            STREAMED => LowBytes::past_caches(&mut low[..64 * steps]),
            _ => LowBytes::Cached(low.as_chunks_mut().0),
        };
        for step in (0..steps).rev() {
            let symbols = match INPUT {
                SYMBOLS => load(&vectors[step]),
                SIGNED | SIGNED_FETCHED => {
                    let bytes = load(&vectors[step]);
                    // Forwards: memory answers faster then.
                    if INPUT == SIGNED_FETCHED && step & 1 == 0 {
                        fetch(ahead, 64 * (steps - 1 - step) / 128 * 128);
                    }
                    all = _mm512_or_si512(all, bytes);
                    packed[step] = _mm512_test_epi8_mask(bytes, signs.sign).to_le_bytes();
                    _mm512_and_si512(bytes, signs.below)
                }
                _ => {
                    let (low, high) =
                        tables.split(load(&vectors[2 * step]), load(&vectors[2 * step + 1]));
                    if INPUT != WORDS {
                        fetch(ahead, 128 * (steps - 1 - step));
                    }
                    places.put(step, low);
                    high
                }
            };
            let (codes, lengths) = tables.look_up::<ENTRIES>(symbols);
            let keep = _mm512_movepi8_mask(lengths);
            if often {
                keep_symbols(keep, symbols, escapes);
            } else if keep != 0 {
                keep_symbols_rarely(keep, symbols, escapes);
            }
            if matches!(INPUT, FETCHED | STREAMED | SIGNED_FETCHED) {
                fetch_to_write(
                    stream,
                    at + if INPUT == SIGNED_FETCHED { 2 * AHEAD } else { AHEAD },
                );
            }
            let room = stream.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            let Some(room) = room else { return Err(no_room(at + LANES, stream.len())) };
            at += lanes.step(codes, lengths, room);
        }
        places.finish();
        *end = at;
        self.lanes = lanes.store();
        Ok(_mm512_test_epi8_mask(all, signs.beyond) == 0)
    }

    pub(super) fn finish(&self, states: &mut [u8]) {
        let _ = self.proof;
        if let Some(states) = states.first_chunk_mut() {
            // SAFETY: the proof says that the processor has the instructions.
            unsafe { EncoderLanes::load(&self.lanes).finish(states) }
        }
    }
}

/// What [`Encoder::push_whole`] is given, or [`Decoder::pull_whole`] has to make, as a constant for the compiler.
const SYMBOLS: u8 = 0;
const WORDS: u8 = 1;
/// Words, while others are fetched.
const FETCHED: u8 = 2;
/// The same, or words alone; and what is written goes past the caches.
const STREAMED: u8 = 3;
/// Bytes with a sign.
const SIGNED: u8 = 4;
const SIGNED_FETCHED: u8 = 5;
const SIGNED_STREAMED: u8 = 6;

/// Where the bits of bytes with a sign are.
struct SignBits {
    sign: __m512i,
    below: __m512i,
    beyond: __m512i,
}

impl SignBits {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(join: Join) -> Self {
        let (sign, beyond) = match join {
            Join::High => (0, 0),
            Join::Signs { width } => {
                let width = u32::from(width);
                (1u8.wrapping_shl(width), 0xfe_u8.wrapping_shl(width))
            }
        };
        let below = sign.wrapping_sub(1);
        let [sign, below, beyond] = [sign, below, beyond].map(|byte| _mm512_set1_epi8(byte as i8));
        Self { sign, below, beyond }
    }
}

/// How far ahead room for the stream is fetched: some fifty steps.
const AHEAD: usize = 1024;

/// Where the low bytes of words go, from the last step to the first.
enum LowBytes<'a> {
    Cached(&'a mut [[u8; 64]]),
    /// Line by line, if lines are where steps are.
    Lines(&'a mut [Line]),
    /// Line by line, each one made of two steps; `later` is the later one of the next.
    Between {
        head: &'a mut [u8],
        lines: &'a mut [Line],
        tail: &'a mut [u8],
        later: Option<__m512i>,
    },
}

impl<'a> LowBytes<'a> {
    /// For whole steps.
    fn past_caches(low: &'a mut [u8]) -> Self {
        match lines(low) {
            (head, lines, tail) if !head.is_empty() && !tail.is_empty() => {
                Self::Between { head, lines, tail, later: None }
            }
            (_, lines, _) => Self::Lines(lines),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn put(&mut self, step: usize, low: __m512i) {
        match self {
            Self::Cached(places) => {
                if let Some(place) = places.get_mut(step) {
                    store(place, low);
                }
            }
            Self::Lines(lines) => {
                if let Some(line) = lines.get_mut(step) {
                    stream(line, low);
                }
            }
            Self::Between { head, lines, tail, later } => {
                let across = across(head.len());
                match later.replace(low) {
                    Some(later) => {
                        if let Some(line) = lines.get_mut(step) {
                            stream(line, _mm512_permutex2var_epi8(low, across, later));
                        }
                    }
                    None => store_some(tail, _mm512_permutexvar_epi8(across, low)),
                }
            }
        }
    }

    /// After the first step.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(self) {
        if let Self::Between { head, later: Some(first), .. } = self {
            store_some(head, first);
        }
    }
}

/// The 64 bytes of two vectors that begin with byte `from` of the first one.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn across(from: usize) -> __m512i {
    let places = load(&std::array::from_fn(|i| i as u8));
    _mm512_add_epi8(places, _mm512_set1_epi8(from as i8))
}

/// What symbols are looked up with.
struct EncodeTables {
    /// Swaps the bytes of words.
    swap: __m512i,
    base: __m512i,
    last: __m512i,
    codes: [__m512i; 4],
    lengths: [__m512i; 4],
}

impl EncodeTables {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(encoder: &Encoder<'_>) -> Self {
        let mut lengths = load_table(&encoder.tables.lengths);
        if !encoder.keep_escapes {
            let unmarked = _mm512_set1_epi8(!MARK as i8);
            lengths = lengths.map(|quarter| _mm512_and_si512(quarter, unmarked));
        }
        // The compiler would make shifts of it, of which port 0 has more than enough.
        let swap = std::hint::black_box(load(&std::array::from_fn(|i| i as u8 ^ 1)));
        Self {
            swap,
            base: _mm512_set1_epi8(encoder.map.base as i8),
            last: _mm512_set1_epi8(encoder.map.last as i8),
            codes: load_table(&encoder.tables.codes),
            lengths,
        }
    }

    /// Low and high bytes of a group of 16-bit words, as [`deal`] has them.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn split(&self, a: __m512i, b: __m512i) -> (__m512i, __m512i) {
        let lower = _mm512_set1_epi16(0x00ff);
        let (a, b) = (_mm512_shldi_epi16::<1>(a, a), _mm512_shldi_epi16::<1>(b, b));
        let a_swapped = _mm512_shuffle_epi8(a, self.swap);
        let b_swapped = _mm512_shuffle_epi8(b, self.swap);
        (
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a, lower, b_swapped),
            _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(a_swapped, lower, b),
        )
    }

    /// Codes and lengths of symbols.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const ENTRIES: usize>(&self, symbols: __m512i) -> (__m512i, __m512i) {
        let slots = match ENTRIES {
            // No centred alphabet has so many slots: these are the symbols.
            128 => symbols,
            _ => _mm512_min_epu8(_mm512_sub_epi8(symbols, self.base), self.last),
        };
        (look_up::<ENTRIES>(&self.codes, slots), look_up::<ENTRIES>(&self.lengths, slots))
    }
}

/// Puts the symbols that take the escape before those of later steps.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn keep_symbols(keep: __mmask64, symbols: __m512i, escapes: &mut Escapes) {
    let place = escapes.front(keep.count_ones() as usize);
    store_some(place, _mm512_maskz_compress_epi8(keep, symbols));
}

/// The same where that is rare: the compiler keeps it out of the way.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn keep_symbols_rarely(keep: __mmask64, symbols: __m512i, escapes: &mut Escapes) {
    keep_symbols(keep, symbols, escapes);
}

/// All lanes of the encoder. Byte `i` of a vector of bytes stands for lane `i`; word `j` of `even` and `odd`
/// for the lanes `2j` and `2j + 1`.
struct EncoderLanes {
    even: __m512i,
    odd: __m512i,
    reserve: __m512i,
    /// Bits above 16, and in even bytes 8 more: what an even window has to be rotated by to bring the
    /// byte that goes to the reserve to the lower half.
    bits: __m512i,
}

impl EncoderLanes {
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn begin(initial: &[u8; INITIAL_BYTES]) -> [[u8; 64]; 4] {
        let (halves, _) = initial.as_chunks::<64>();
        let (reserve, windows) = (load(&halves[0]), load(&halves[1]));
        let even = _mm512_slli_epi16::<8>(windows);
        let odd = _mm512_and_si512(windows, _mm512_set1_epi16(0xff00_u16 as i16));
        Self { even, odd, reserve, bits: _mm512_set1_epi16(0x0008) }.store()
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &[[u8; 64]; 4]) -> Self {
        let [even, odd, reserve, bits] = lanes;
        Self { even: load(even), odd: load(odd), reserve: load(reserve), bits: load(bits) }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> [[u8; 64]; 4] {
        let mut lanes = [[0; 64]; 4];
        for (bytes, vector) in lanes.iter_mut().zip([self.even, self.odd, self.reserve, self.bits])
        {
            store(bytes, vector);
        }
        lanes
    }

    /// One step; lanes whose length is 0 take no part. Returns the number of bytes emitted.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn step(&mut self, codes: __m512i, lengths: __m512i, room: &mut [u8; 64]) -> usize {
        let sum = _mm512_add_epi8(self.bits, lengths);
        let emit = _mm512_test_epi8_mask(sum, _mm512_set1_epi16(0x0810));
        store(room, _mm512_maskz_compress_epi8(emit, self.reserve));
        let odd_bits = _mm512_srli_epi16::<8>(self.bits);
        // Not a blend, whose mask would have to go through port 5.
        let due = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(
            _mm512_shldv_epi16(self.even, self.even, self.bits),
            _mm512_set1_epi16(0x00ff),
            _mm512_shldv_epi16(self.odd, self.odd, odd_bits),
        );
        self.reserve = _mm512_mask_mov_epi8(self.reserve, emit, due);
        self.even = _mm512_shrdv_epi16(self.even, codes, lengths);
        let (codes, lengths) = (_mm512_srli_epi16::<8>(codes), _mm512_srli_epi16::<8>(lengths));
        self.odd = _mm512_shrdv_epi16(self.odd, codes, lengths);
        let (low, bias) = (_mm512_set1_epi8(7), _mm512_set1_epi16(0x0008));
        self.bits = _mm512_ternarylogic_epi32::<A_AND_B_OR_C>(sum, low, bias);
        emit.count_ones() as usize
    }

    /// Writes the lane states.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(&self, states: &mut [u8; 3 * LANES]) {
        // From 8 + d bits on top to 8 + d bits at the bottom and a sentinel above them, let in from
        // above as the code 1.
        let bits = _mm512_and_si512(self.bits, _mm512_set1_epi8(7));
        let (one, eight) = (_mm512_set1_epi16(1), _mm512_set1_epi16(8));
        let even_bits = _mm512_and_si512(bits, _mm512_set1_epi16(7));
        let odd_bits = _mm512_srli_epi16::<8>(bits);
        let even = _mm512_shrdv_epi16(self.even, one, _mm512_sub_epi16(eight, even_bits));
        let odd = _mm512_shrdv_epi16(self.odd, one, _mm512_sub_epi16(eight, odd_bits));
        let middle = _mm512_mask_blend_epi8(ODD, even, _mm512_slli_epi16::<8>(odd));
        let high = _mm512_mask_blend_epi8(ODD, _mm512_srli_epi16::<8>(even), odd);
        let (places, _) = states.as_chunks_mut::<64>();
        for (place, bytes) in places.iter_mut().zip([self.reserve, middle, high]) {
            store(place, bytes);
        }
    }
}

/// How a book is decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Tables of 64 entries for symbols and, by symbol, for lengths.
    Narrow,
    /// Tables of 64 entries, though there are more slots.
    Short,
    /// Tables of 256 entries for symbols and, by symbol, of 128 for lengths.
    Middle,
    /// Tables of 256 entries.
    Wide,
}

/// Decodes pieces of a plane, the first one first; see [`super::Decoder`].
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    proof: Avx512,
    kind: Kind,
    tables: &'a Tables,
    base: u8,
    /// Whether escapes and zeros are of interest.
    marks: bool,
    /// Between pieces: what [`DecoderLanes`] holds, but for the stream.
    lanes: [[u8; 64]; 4],
    stream: &'a [u8],
    /// Words not yet taken lie before this.
    end: usize,
}

/// Calls a method compiled for the kind of the decoder's book.
macro_rules! dispatch {
    ($decoder:expr, $method:ident::<_ $(, $output:ident)?>($($argument:expr),*)) => {{
        let decoder = &mut *$decoder;
        let _ = decoder.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match decoder.kind {
                Kind::Narrow => decoder.$method::<NARROW $(, $output)?>($($argument),*),
                Kind::Short => decoder.$method::<SHORT $(, $output)?>($($argument),*),
                Kind::Middle => decoder.$method::<MIDDLE $(, $output)?>($($argument),*),
                Kind::Wide => decoder.$method::<WIDE $(, $output)?>($($argument),*),
            }
        }
    }};
}

impl<'a> Decoder<'a> {
    pub(super) fn new(
        proof: Avx512,
        book: &Codebook,
        tables: &'a Tables,
        reading: Reading<'_>,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let kind = match (tables.halved, book.lengths().alphabet().slots()) {
            (true, ..=64) => Kind::Narrow,
            (true, _) => Kind::Short,
            (false, ..=128) => Kind::Middle,
            (false, _) => Kind::Wide,
        };
        let (base, marks) = match reading {
            Reading::Slots => (0, false),
            Reading::Symbols { base, .. } => (base, true),
        };
        let states = states.first_chunk().ok_or_else(out_of_words)?;
        // SAFETY: the proof says that the processor has the instructions.
        let lanes = unsafe { DecoderLanes::begin(states) }?;
        Ok(Self { proof, kind, tables, base, marks, lanes, stream, end: stream.len() })
    }

    pub(super) fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.split_at_mut(symbols.len() / LANES * LANES);
        dispatch!(self, pull_whole::<_, SYMBOLS>(escaped, to_put(whole)))?;
        dispatch!(self, pull_partial::<_>(escaped, partial))
    }

    /// See [`super::Decoder::pull_merged`].
    pub(super) fn pull_merged(
        &mut self,
        escaped: &mut Escaped<'_>,
        output: ToMerge<'_>,
    ) -> Result<()> {
        match (output.join, output.flow.streams()) {
            (Join::High, false) => dispatch!(self, pull_whole::<_, WORDS>(escaped, output)),
            (Join::High, true) => {
                let _fence = Fence::new();
                dispatch!(self, pull_whole::<_, STREAMED>(escaped, output))
            }
            (Join::Signs { .. }, false) => {
                dispatch!(self, pull_whole::<_, SIGNED>(escaped, output))
            }
            (Join::Signs { .. }, true) => {
                let _fence = Fence::new();
                dispatch!(self, pull_whole::<_, SIGNED_STREAMED>(escaped, output))
            }
        }
    }

    /// Two planes side by side: the steps of one wait for each other less than half of the time.
    pub(super) fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        let mut done = 0;
        if first.kind == second.kind {
            let escaped = [&mut *first_escaped, &mut *second_escaped];
            let outs = [to_put(first_symbols), to_put(second_symbols)];
            done = dispatch!(first, pull_both::<_, SYMBOLS>(second, escaped, outs));
        }
        [
            first.pull(first_escaped, &mut first_symbols[done..]),
            second.pull(second_escaped, &mut second_symbols[done..]),
        ]
    }

    /// See [`super::Decoder::pull_merged_of_two`].
    pub(super) fn pull_merged_of_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [mut a, mut b]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        let mut done = 0;
        let ways = [&a, &b].map(|output| (output.join, output.flow.streams()));
        if first.kind == second.kind && ways[0] == ways[1] {
            let escaped = [&mut *first_escaped, &mut *second_escaped];
            let outs = [a.reborrow(), b.reborrow()];
            done = match ways[0] {
                (Join::High, false) => {
                    dispatch!(first, pull_both::<_, WORDS>(second, escaped, outs))
                }
                (Join::High, true) => {
                    let _fence = Fence::new();
                    dispatch!(first, pull_both::<_, STREAMED>(second, escaped, outs))
                }
                (Join::Signs { .. }, false) => {
                    dispatch!(first, pull_both::<_, SIGNED>(second, escaped, outs))
                }
                (Join::Signs { .. }, true) => {
                    let _fence = Fence::new();
                    dispatch!(first, pull_both::<_, SIGNED_STREAMED>(second, escaped, outs))
                }
            };
        }
        [
            first.pull_merged(first_escaped, a.after(done)),
            second.pull_merged(second_escaped, b.after(done)),
        ]
    }

    /// Whole steps: [`SYMBOLS`], or what [`ToMerge`] is about, 16-bit [`WORDS`] or [`SIGNED`] bytes, perhaps past
    /// the caches.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_whole<const KIND: u8, const OUTPUT: u8>(
        &mut self,
        escaped: &mut Escaped<'_>,
        output: ToMerge<'_>,
    ) -> Result<()> {
        let tables = DecodeTables::new::<KIND>(self);
        let mut lanes = DecoderLanes::load(&self.lanes, self.stream, self.end);
        let mut sink = Sink::<OUTPUT>::new(escaped, output);
        for step in 0..sink.steps() {
            let (symbols, lengths) = lanes.look_up::<KIND>(&tables);
            sink.put(step, symbols, lengths);
            lanes.advance(&tables, lengths)?;
        }
        sink.finish();
        (self.lanes, self.end) = (lanes.store(), lanes.end);
        Ok(())
    }

    /// Symbols that do not make a step, if there are any.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_partial<const KIND: u8>(
        &mut self,
        escaped: &mut Escaped<'_>,
        out: &mut [u8],
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let tables = DecodeTables::new::<KIND>(self);
        let mut lanes = DecoderLanes::load(&self.lanes, self.stream, self.end);
        let (symbols, lengths) = lanes.look_up::<KIND>(&tables);
        let lengths = _mm512_maskz_mov_epi8(!(ALL << out.len()), lengths);
        let mut padded = [0; LANES];
        let mut sink = Sink::<SYMBOLS>::new(escaped, to_put(&mut padded));
        sink.put(0, symbols, lengths);
        sink.finish();
        out.copy_from_slice(&padded[..out.len()]);
        lanes.advance(&tables, lengths)?;
        (self.lanes, self.end) = (lanes.store(), lanes.end);
        Ok(())
    }

    /// As many steps as both have words for without looking; returns the number of symbols decoded.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_both<const KIND: u8, const OUTPUT: u8>(
        &mut self,
        second: &mut Self,
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_output, second_output]: [ToMerge<'_>; 2],
    ) -> usize {
        let first_tables = DecodeTables::new::<KIND>(self);
        let second_tables = DecodeTables::new::<KIND>(second);
        let mut a = DecoderLanes::load(&self.lanes, self.stream, self.end);
        let mut b = DecoderLanes::load(&second.lanes, second.stream, second.end);
        let mut first_sink = Sink::<OUTPUT>::new(first_escaped, first_output);
        let mut second_sink = Sink::<OUTPUT>::new(second_escaped, second_output);
        let mut done = 0;
        let steps = first_sink.steps().min(second_sink.steps());
        first_sink.cut(steps);
        second_sink.cut(steps);
        for step in 0..steps {
            // With a group in the stream a step cannot run out of words.
            if a.end < LANES || b.end < LANES {
                break;
            }
            let (symbols, a_lengths) = a.look_up::<KIND>(&first_tables);
            first_sink.put(step, symbols, a_lengths);
            let (symbols, b_lengths) = b.look_up::<KIND>(&second_tables);
            second_sink.put(step, symbols, b_lengths);
            if a.advance(&first_tables, a_lengths).is_err()
                || b.advance(&second_tables, b_lengths).is_err()
            {
                break;
            }
            done += LANES;
        }
        first_sink.finish();
        second_sink.finish();
        (self.lanes, self.end) = (a.store(), a.end);
        (second.lanes, second.end) = (b.store(), b.end);
        done
    }

    pub(super) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        let [_, low, reserve, bits] = &self.lanes;
        // SAFETY: the proof says that the processor has the instructions.
        let starts = unsafe {
            let mut bytes = [0; 64];
            store(&mut bytes, starts());
            bytes
        };
        if *bits != starts || self.end > 0 {
            return Err(wrong_end());
        }
        let mut initial = [0; INITIAL_BYTES];
        initial[..LANES].copy_from_slice(reserve);
        initial[LANES..].copy_from_slice(low);
        Ok(initial)
    }
}

/// Symbols as they are, for a [`Sink`].
const fn to_put(elements: &mut [u8]) -> ToMerge<'_> {
    ToMerge { join: Join::High, other: &[], elements, flow: Flow::Cached }
}

impl ToMerge<'_> {
    const fn reborrow(&mut self) -> ToMerge<'_> {
        let Self { join, other, elements, flow } = self;
        ToMerge { join: *join, other, elements, flow: *flow }
    }

    /// What follows so many symbols, whole steps.
    fn after(self, symbols: usize) -> Self {
        let Self { join, other, elements, flow } = self;
        let (other_from, elements_from) = match join {
            Join::High => (symbols, 2 * symbols),
            Join::Signs { .. } => (symbols / 8, symbols),
        };
        let (other, elements) = (&other[other_from..], &mut elements[elements_from..]);
        Self { join, other, elements, flow }
    }
}

/// Where the symbols of whole steps go.
struct Sink<'a, 'e, const OUTPUT: u8> {
    escaped: &'a mut Escaped<'e>,
    taking: Taking<'e>,
    /// Whether there are so many escapes that a branch would often be wrongly predicted.
    often: bool,
    low: &'a [[u8; 64]],
    signs: &'a [[u8; 8]],
    sign: __m512i,
    out: &'a mut [[u8; 64]],
    pairs: &'a mut [[[u8; 64]; 2]],
    lines: Lines<'a>,
    /// To be fetched.
    ahead: &'a [u8],
}

impl<'a, 'e, const OUTPUT: u8> Sink<'a, 'e, OUTPUT> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(escaped: &'a mut Escaped<'e>, output: ToMerge<'a>) -> Self {
        let ToMerge { join, other, elements, flow } = output;
        let Escaped { marks, left, .. } = *escaped;
        let mut sink = Self {
            escaped,
            taking: Taking {
                // Without one nothing is ever marked.
                escape: marks.map_or(0, |marks| marks.escape),
                escapes: left,
                taken: 0,
                wrong: false,
            },
            often: false,
            low: other.as_chunks().0,
            signs: other.as_chunks().0,
            sign: SignBits::new(join).sign,
            out: &mut [],
            pairs: &mut [],
            lines: Lines::new(&mut []),
            ahead: flow.ahead(),
        };
        match OUTPUT {
            SYMBOLS | SIGNED => sink.out = elements.as_chunks_mut().0,
            WORDS => sink.pairs = elements.as_chunks_mut().0.as_chunks_mut().0,
            _ => sink.lines = Lines::new(elements),
        }
        let steps = sink.steps();
        sink.cut(steps);
        sink.often = left.len() > steps / 8;
        sink
    }

    /// Whole steps that there is room for.
    #[inline(always)]
    fn steps(&self) -> usize {
        match OUTPUT {
            SYMBOLS => self.out.len(),
            WORDS => self.low.len().min(self.pairs.len()),
            SIGNED => self.signs.len().min(self.out.len()),
            SIGNED_STREAMED => self.signs.len(),
            _ => self.low.len(),
        }
    }

    /// Leaves no more than so many steps, so that the compiler sees that no access is out of bounds.
    #[inline(always)]
    fn cut(&mut self, steps: usize) {
        match OUTPUT {
            SYMBOLS | SIGNED => self.out = &mut std::mem::take(&mut self.out)[..steps],
            WORDS => self.pairs = &mut std::mem::take(&mut self.pairs)[..steps],
            _ => {}
        }
        match OUTPUT {
            SYMBOLS => {}
            SIGNED | SIGNED_STREAMED => self.signs = &self.signs[..steps],
            _ => self.low = &self.low[..steps],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn put(&mut self, step: usize, mut symbols: __m512i, lengths: __m512i) {
        let marked = _mm512_movepi8_mask(lengths);
        if matches!(OUTPUT, WORDS | STREAMED) {
            // Exponents have few: a choice between two ways would cost more than it saves.
            if marked != 0 {
                rarely();
                symbols = self.taking.replace_marked::<OUTPUT>(symbols, marked);
            }
        } else if self.often {
            symbols = self.taking.replace_marked::<OUTPUT>(symbols, marked);
        } else if marked != 0 {
            (self.taking, symbols) = replace_marked_rarely::<OUTPUT>(self.taking, symbols, marked);
        }
        match OUTPUT {
            SYMBOLS => {
                if let Some(place) = self.out.get_mut(step) {
                    store(place, symbols);
                }
            }
            SIGNED | SIGNED_STREAMED => {
                let Some(signs) = self.signs.get(step) else { return };
                let signs = u64::from_le_bytes(*signs);
                let bytes = _mm512_mask_add_epi8(symbols, signs, symbols, self.sign);
                if OUTPUT == SIGNED_STREAMED {
                    self.fetch(64 * step / 128 * 128);
                    self.lines.put(bytes);
                } else if let Some(place) = self.out.get_mut(step) {
                    store(place, bytes);
                }
            }
            _ => {
                let Some(low) = self.low.get(step) else { return };
                let (first, second) = deal::merge_group(load(low), symbols);
                if OUTPUT == STREAMED {
                    self.fetch(128 * step);
                    self.lines.put(first);
                    self.lines.put(second);
                } else if let Some([a, b]) = self.pairs.get_mut(step) {
                    store(a, first);
                    store(b, second);
                }
            }
        }
    }

    #[inline(always)]
    fn fetch(&self, at: usize) {
        if at < self.ahead.len() {
            fetch(self.ahead, at);
        }
    }

    /// After the last step.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(self) {
        let Taking { escapes, taken, wrong, .. } = self.taking;
        self.escaped.wrong |= wrong || taken > escapes.len();
        self.escaped.left = escapes.get(taken..).unwrap_or(&[]);
        if matches!(OUTPUT, STREAMED | SIGNED_STREAMED) {
            self.lines.finish();
        }
    }
}

/// Vectors on their way past the caches, line by line, each one made of two vectors where lines are not
/// where vectors are.
struct Lines<'a> {
    head: &'a mut [u8],
    lines: std::slice::IterMut<'a, Line>,
    tail: &'a mut [u8],
    /// The 64 bytes of the last vector and the next one that make the next line.
    across: __m512i,
    last: __m512i,
    begun: bool,
}

impl<'a> Lines<'a> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(out: &'a mut [u8]) -> Self {
        let (head, lines, tail) = lines(out);
        let across = across(head.len());
        let last = _mm512_setzero_si512();
        Self { head, lines: lines.iter_mut(), tail, across, last, begun: false }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn put(&mut self, vector: __m512i) {
        if self.head.is_empty() {
            if let Some(line) = self.lines.next() {
                stream(line, vector);
            }
            return;
        }
        if !self.begun {
            store_some(self.head, vector);
        } else if let Some(line) = self.lines.next() {
            stream(line, _mm512_permutex2var_epi8(self.last, self.across, vector));
        }
        (self.begun, self.last) = (true, vector);
    }

    /// The end of the last vector, if the lines before were filled.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(self) {
        if !self.begun {
            return;
        }
        let end = _mm512_permutexvar_epi8(self.across, self.last);
        match self.lines.into_slice() {
            [] => store_some(self.tail, end),
            // Not all was decoded; what comes next is going to be written over the rest of this line.
            [next, ..] => store_some(next.start(64 - self.head.len()), end),
        }
    }
}

/// Tells the compiler that a branch is taken rarely.
#[cold]
const fn rarely() {}

/// Escapes on their way to the symbols that stand for them.
#[derive(Clone, Copy)]
struct Taking<'e> {
    /// What the escape's slot becomes.
    escape: u8,
    escapes: &'e [u8],
    /// So many of them were taken, perhaps more than there are.
    taken: usize,
    wrong: bool,
}

impl Taking<'_> {
    /// Puts escapes in the place of what is marked.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn replace_marked<const OUTPUT: u8>(&mut self, symbols: __m512i, marked: __mmask64) -> __m512i {
        let due = match OUTPUT {
            // There are no other marks in plain alphabets.
            SIGNED | SIGNED_STREAMED => marked,
            _ => {
                let escape = _mm512_set1_epi8(self.escape as i8);
                _mm512_mask_cmpeq_epi8_mask(marked, symbols, escape)
            }
        };
        // What is marked and no escape is a zero, of which there must not be any.
        self.wrong |= due != marked;
        let from = self.taken;
        self.taken += due.count_ones() as usize;
        let escapes = match self.escapes.get(from..from + 64).and_then(<[u8]>::first_chunk) {
            Some(escapes) => load(escapes),
            None => load_some(self.escapes.get(from..).unwrap_or(&[])),
        };
        _mm512_mask_expand_epi8(symbols, due, escapes)
    }
}

/// [`Taking::replace_marked`] where that is rare, out of the way; by value, so that the compiler can keep the rest in
/// registers.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn replace_marked_rarely<const OUTPUT: u8>(
    mut taking: Taking<'_>,
    symbols: __m512i,
    marked: __mmask64,
) -> (Taking<'_>, __m512i) {
    let symbols = taking.replace_marked::<OUTPUT>(symbols, marked);
    (taking, symbols)
}

/// [`Kind`] as a constant for the compiler.
const NARROW: u8 = 0;
const SHORT: u8 = 1;
const MIDDLE: u8 = 2;
const WIDE: u8 = 3;

/// Tables by window.
struct DecodeTables {
    symbols: [__m512i; 4],
    lengths: [__m512i; 4],
    /// Bit 3 of every byte.
    borrow: __m512i,
}

impl DecodeTables {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new<const KIND: u8>(decoder: &Decoder<'_>) -> Self {
        let tables = decoder.tables;
        let base = _mm512_set1_epi8(decoder.base as i8);
        let mut symbols = load_table(&tables.window_slots);
        symbols[0] = _mm512_add_epi8(symbols[0], base);
        if KIND >= MIDDLE {
            // Not so in halved tables, where the others are what has to be added.
            for quarter in &mut symbols[1..] {
                *quarter = _mm512_add_epi8(*quarter, base);
            }
        }
        let mut lengths = load_table(&tables.window_lengths);
        let places = load(&std::array::from_fn(|i| i as u8));
        let slots = _mm512_sub_epi8(places, base);
        if KIND == NARROW {
            // By symbol, of which the lower six bits are enough.
            lengths[0] = look_up::<64>(&load_table(&tables.lengths), slots);
        }
        if KIND == MIDDLE {
            // By symbol, of which the lower seven bits are enough.
            let by_slot = load_table(&tables.lengths);
            lengths[0] = look_up::<128>(&by_slot, slots);
            let slots = _mm512_add_epi8(slots, _mm512_set1_epi8(64));
            lengths[1] = look_up::<128>(&by_slot, slots);
        }
        if !decoder.marks {
            // What has to be added in halved tables may be a mark too.
            let unmarked = _mm512_set1_epi8(!MARK as i8);
            lengths = lengths.map(|quarter| _mm512_and_si512(quarter, unmarked));
        }
        // Were it known to the compiler, it would test for it in two instructions.
        let borrow = std::hint::black_box(_mm512_set1_epi8(8));
        Self { symbols, lengths, borrow }
    }

    /// Symbols and lengths of the codes that windows begin with.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const KIND: u8>(&self, windows: __m512i) -> (__m512i, __m512i) {
        if KIND == WIDE {
            return (
                look_up::<256>(&self.symbols, windows),
                look_up::<256>(&self.lengths, windows),
            );
        }
        if KIND == MIDDLE {
            let symbols = look_up::<256>(&self.symbols, windows);
            return (symbols, look_up::<128>(&self.lengths, symbols));
        }
        let upper_six = _mm512_srli_epi16::<2>(windows);
        let beyond = _mm512_max_epu8(windows, _mm512_set1_epi8(0xc0_u8 as i8));
        let look_up = |table: &[__m512i; 4]| {
            let entry = _mm512_permutexvar_epi8(upper_six, table[0]);
            _mm512_add_epi8(entry, _mm512_permutexvar_epi8(beyond, table[1]))
        };
        let symbols = look_up(&self.symbols);
        if KIND == NARROW {
            (symbols, _mm512_permutexvar_epi8(symbols, self.lengths[0]))
        } else {
            (symbols, look_up(&self.lengths))
        }
    }
}

/// All lanes of a decoder; byte `i` of a vector stands for lane `i`.
struct DecoderLanes<'a> {
    /// High and low bytes of the windows, and the bytes in reserve.
    high: __m512i,
    low: __m512i,
    reserve: __m512i,
    /// Bits above 16, and 0, 0, 16, 16, 32, 32, 48, 48 and so on: where the next 8 bits begin in
    /// the 64 bits that hold a lane and its neighbours but one.
    bits: __m512i,
    stream: &'a [u8],
    /// Words not yet taken lie before this.
    end: usize,
}

impl<'a> DecoderLanes<'a> {
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn begin(states: &[u8; 3 * LANES]) -> Result<[[u8; 64]; 4]> {
        let (places, _) = states.as_chunks::<64>();
        let [reserve, low, high] = [0, 1, 2].map(|place| load(&places[place]));
        let without = _mm512_testn_epi8_mask(high, high);
        if without != 0 {
            return Err(no_sentinel(without.trailing_zeros() as usize));
        }
        // The sentinel is the top bit of the high byte: its place is the number of bits above 16.
        let mut bits = starts();
        for place in 1..8 {
            let beyond = _mm512_cmpge_epu8_mask(high, _mm512_set1_epi8((1 << place) as u8 as i8));
            bits = _mm512_mask_add_epi8(bits, beyond, bits, _mm512_set1_epi8(1));
        }
        Ok(Self { high, low, reserve, bits, stream: &[], end: 0 }.store())
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &[[u8; 64]; 4], stream: &'a [u8], end: usize) -> Self {
        let [high, low, reserve, bits] = lanes;
        let (high, low, reserve, bits) = (load(high), load(low), load(reserve), load(bits));
        Self { high, low, reserve, bits, stream, end }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> [[u8; 64]; 4] {
        let mut lanes = [[0; 64]; 4];
        for (bytes, vector) in lanes.iter_mut().zip([self.high, self.low, self.reserve, self.bits])
        {
            store(bytes, vector);
        }
        lanes
    }

    /// The symbols that are next, and the lengths of their codes, for [`DecoderLanes::advance`].
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const KIND: u8>(&self, tables: &DecodeTables) -> (__m512i, __m512i) {
        let lower_half = _mm512_set1_epi16(0x00ff);
        let even = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(
            self.low,
            lower_half,
            _mm512_slli_epi16::<8>(self.high),
        );
        let odd = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(
            _mm512_srli_epi16::<8>(self.low),
            lower_half,
            self.high,
        );
        // Not a blend: the compiler would merge it into the second multishift, which would then wait
        // for the first.
        let windows = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(
            _mm512_multishift_epi64_epi8(self.bits, even),
            lower_half,
            _mm512_multishift_epi64_epi8(self.bits, odd),
        );
        tables.look_up::<KIND>(windows)
    }

    /// Drops codes, and takes words where too few bits are left. A length of 0 leaves a lane as it is.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn advance(&mut self, tables: &DecodeTables, lengths: __m512i) -> Result<()> {
        let left = _mm512_sub_epi8(self.bits, lengths);
        // A borrow shows in bit 3; marks do not reach it.
        let need = _mm512_test_epi8_mask(left, tables.borrow);
        let Some(end) = self.end.checked_sub(need.count_ones() as usize) else {
            return Err(out_of_words());
        };
        self.end = end;
        // Loaded as late as this, the words have a whole step to be dealt before anybody looks at them.
        let words = match self.stream.get(end..end + LANES).and_then(<[u8]>::first_chunk) {
            Some(words) => load(words),
            None => load_some(self.stream.get(end..).unwrap_or(&[])),
        };
        self.high = _mm512_mask_mov_epi8(self.high, need, self.low);
        self.low = _mm512_mask_mov_epi8(self.low, need, self.reserve);
        self.reserve = _mm512_mask_expand_epi8(self.reserve, need, words);
        self.bits = _mm512_ternarylogic_epi32::<A_AND_B_OR_C>(left, _mm512_set1_epi8(7), starts());
        Ok(())
    }
}

/// Where the 16 bits of each lane's window begin in the 64 bits around them.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn starts() -> __m512i {
    _mm512_set1_epi64(0x3030_2020_1010_0000)
}
