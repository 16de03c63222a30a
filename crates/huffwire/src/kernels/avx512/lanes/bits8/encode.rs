//! The encoder of codes of at most 8 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::super::put_in_front;
use super::stores::LowBytes;
use super::{
    A_AND_B_OR_C, A_IF_B_ELSE_C, ALL, FETCHED, ODD, SIGNED, SIGNED_FETCHED, STREAMED, SYMBOLS,
    SignBits, WORDS, load_table, look_up,
};
use crate::error::Result;
use crate::kernels::avx512::Avx512;
use crate::kernels::avx512::isa::{Fence, fetch, fetch_to_write, load, store};
use crate::kernels::lanes::{
    CARRIED_BYTES, CachePolicy, EncodeLanes, Escapes, Join, LANES, SlotMap, ToSplit, no_room,
};
use crate::kernels::tables::{Bits8, MARK};

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

/// Encodes pieces of a plane, the last one first; see [`crate::kernels::lanes::Encoder`].
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    proof: Avx512,
    tables: &'b Bits8,
    slots: usize,
    map: SlotMap,
    keep_escapes: bool,
    /// Between pieces: what [`EncoderLanes`] holds.
    lanes: [[u8; 64]; 4],
}

impl<'b> Encoder<'b> {
    pub(crate) fn new(
        proof: Avx512,
        tables: &'b Bits8,
        slots: usize,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        // SAFETY: the proof says that the processor has the instructions.
        let lanes = unsafe { EncoderLanes::begin(carried) };
        Self { proof, tables, slots, map, keep_escapes, lanes }
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
        put_in_front(escapes, keep, load(&padded));
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
    fn push_steps<const ENTRIES: usize, const INPUT: u8>(
        &mut self,
        input: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        let ToSplit { join, elements, other, cache } = input;
        let ahead = match cache {
            CachePolicy::Cached => &[],
            // All that is fetched should be there.
            CachePolicy::Fetching { ahead } | CachePolicy::Streaming { ahead } => {
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
            // A branch and no call where that is rare: the compiler would put all tables aside before a call.
            if often || keep != 0 {
                put_in_front(escapes, keep, symbols);
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
}

impl EncodeLanes for Encoder<'_> {
    fn push(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let (elements, partial) = symbols.split_at(symbols.len() / LANES * LANES);
        // Nothing is split.
        let whole =
            ToSplit { join: Join::High, elements, other: &mut [], cache: CachePolicy::Cached };
        dispatch_entries!(self, push_partial::<_>(partial, stream, end, escapes))?;
        dispatch_entries!(self, push_steps::<_, SYMBOLS>(whole, stream, end, escapes)).map(|_| ())
    }

    /// See [`crate::kernels::lanes::Encoder::push_split`].
    fn push_split(
        &mut self,
        input: ToSplit<'_>,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<bool> {
        match (input.join, input.cache) {
            (Join::High, CachePolicy::Cached) => {
                dispatch_entries!(self, push_steps::<_, WORDS>(input, stream, end, escapes))
            }
            (Join::High, CachePolicy::Fetching { .. }) => {
                dispatch_entries!(self, push_steps::<_, FETCHED>(input, stream, end, escapes))
            }
            (Join::High, CachePolicy::Streaming { .. }) => {
                let _fence = Fence::new();
                dispatch_entries!(self, push_steps::<_, STREAMED>(input, stream, end, escapes))
            }
            (Join::Signs { .. }, CachePolicy::Cached) => {
                dispatch_entries!(self, push_steps::<_, SIGNED>(input, stream, end, escapes))
            }
            // There is too little beside the stream to send it past the caches.
            (Join::Signs { .. }, CachePolicy::Fetching { .. } | CachePolicy::Streaming { .. }) => {
                dispatch_entries!(
                    self,
                    push_steps::<_, SIGNED_FETCHED>(input, stream, end, escapes)
                )
            }
        }
    }

    fn finish(&self, states: &mut [u8]) {
        let _ = self.proof;
        if let Some(states) = states.first_chunk_mut() {
            // SAFETY: the proof says that the processor has the instructions.
            unsafe { EncoderLanes::load(&self.lanes).finish(states) }
        }
    }
}

/// How far ahead room for the stream is fetched: some fifty steps.
const AHEAD: usize = 1024;

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

    /// Low and high bytes of a group of 16-bit words, as [`crate::kernels::interleave`] has them.
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

/// All lanes of the encoder. Byte `i` of a vector of bytes stands for lane `i`; word `j` of `even` and `odd`
/// for the lanes `2j` and `2j + 1`.
struct EncoderLanes {
    even: __m512i,
    odd: __m512i,
    lookahead: __m512i,
    /// Bits above 16, and in even bytes 8 more: what an even window has to be rotated by to bring the
    /// byte that goes to the lookahead to the lower half.
    bits: __m512i,
}

impl EncoderLanes {
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn begin(carried: &[u8; CARRIED_BYTES]) -> [[u8; 64]; 4] {
        let (halves, _) = carried.as_chunks::<64>();
        let (lookahead, windows) = (load(&halves[0]), load(&halves[1]));
        let even = _mm512_slli_epi16::<8>(windows);
        let odd = _mm512_and_si512(windows, _mm512_set1_epi16(0xff00_u16 as i16));
        Self { even, odd, lookahead, bits: _mm512_set1_epi16(0x0008) }.store()
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &[[u8; 64]; 4]) -> Self {
        let [even, odd, lookahead, bits] = lanes;
        Self { even: load(even), odd: load(odd), lookahead: load(lookahead), bits: load(bits) }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> [[u8; 64]; 4] {
        let mut lanes = [[0; 64]; 4];
        for (bytes, vector) in
            lanes.iter_mut().zip([self.even, self.odd, self.lookahead, self.bits])
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
        store(room, _mm512_maskz_compress_epi8(emit, self.lookahead));
        let odd_bits = _mm512_srli_epi16::<8>(self.bits);
        // Not a blend, whose mask would have to go through port 5.
        let due = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(
            _mm512_shldv_epi16(self.even, self.even, self.bits),
            _mm512_set1_epi16(0x00ff),
            _mm512_shldv_epi16(self.odd, self.odd, odd_bits),
        );
        self.lookahead = _mm512_mask_mov_epi8(self.lookahead, emit, due);
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
        for (place, bytes) in places.iter_mut().zip([self.lookahead, middle, high]) {
            store(place, bytes);
        }
    }
}
