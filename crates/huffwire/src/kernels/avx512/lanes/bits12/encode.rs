//! The encoder of codes of at most 12 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use std::hint::black_box;

use super::super::put_in_front;
use super::{
    GROUP, HALF, Saved, by_place, bytes_of, load_saved, load_table, look_up_wide, place, save,
};
use crate::error::Result;
use crate::kernels::avx512::Avx512;
use crate::kernels::avx512::isa::{load, load_some, store};
use crate::kernels::lanes::{CARRIED_BYTES, EncodeLanes, Escapes, FLOOR, LANES, SlotMap, no_room};
use crate::kernels::tables::{Bits12, MARK};

/// Encodes pieces of a plane, the last one first; see [`crate::kernels::lanes::Encoder`].
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    proof: Avx512,
    tables: &'b Bits12,
    /// From symbols to indices of the tables.
    map: SlotMap,
    keep_escapes: bool,
    /// Between pieces: what [`EncoderLanes`] holds.
    lanes: Saved,
}

impl<'b> Encoder<'b> {
    pub(crate) fn new(
        proof: Avx512,
        tables: &'b Bits12,
        slots: usize,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let map = match tables.window {
            Some(first) if slots > 64 => SlotMap { base: first, last: 63 },
            _ => map,
        };
        let mut lanes = [[0; 64]; 5];
        for lane in 0..LANES {
            let word = &mut lanes[lane / HALF][place(lane) & !1..];
            (word[0], word[1]) = (carried[lane], carried[LANES + lane]);
        }
        Self { proof, tables, map, keep_escapes, lanes }
    }

    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn push_steps<const WIDE: bool>(
        &mut self,
        symbols: &[u8],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let tables = EncodeTables::new::<WIDE>(self);
        let mut lanes = EncoderLanes::load(&self.lanes);
        let (whole, partial) = symbols.as_chunks::<LANES>();
        let mut at = *end;
        if !partial.is_empty() {
            let symbols = load_some(partial);
            let mut found = tables.look_up::<WIDE>(symbols);
            let active = load_some(&[0xff; LANES][..partial.len()]);
            let active = _mm512_permutexvar_epi8(by_place(), active);
            found.lengths = _mm512_and_si512(found.lengths, active);
            keep_symbols(found.keep & _mm512_movepi8_mask(active), symbols, escapes);
            let available = stream.len();
            let room = stream.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            at += lanes.step(&found, room.ok_or_else(|| no_room(at + GROUP, available))?);
        }
        for symbols in whole.iter().rev() {
            let symbols = load(symbols);
            let found = tables.look_up::<WIDE>(symbols);
            if found.keep != 0 {
                keep_symbols(found.keep, symbols, escapes);
            }
            let room = stream.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            let Some(room) = room else { return Err(no_room(at + GROUP, stream.len())) };
            at += lanes.step(&found, room);
        }
        *end = at;
        self.lanes = lanes.store();
        Ok(())
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
        let _ = self.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match self.tables.window {
                None => self.push_steps::<true>(symbols, stream, end, escapes),
                Some(_) => self.push_steps::<false>(symbols, stream, end, escapes),
            }
        }
    }

    fn finish(&self, states: &mut [u8]) {
        let (lookaheads, windows) = self.lanes.split_at(2);
        for (lane, state) in states.as_chunks_mut::<4>().0.iter_mut().enumerate().take(LANES) {
            let (half, at) = (lane / HALF, place(lane) & !1);
            let word = |halves: &[[u8; 64]]| {
                u32::from(u16::from_le_bytes([halves[half][at], halves[half][at + 1]]))
            };
            let bits = u32::from(self.lanes[4][place(lane)]);
            // Above the bits their sentinel.
            let window = 1 << bits | word(windows) >> (16 - bits);
            *state = (window << FLOOR | word(lookaheads)).to_le_bytes();
        }
    }
}

/// Puts the symbols that take the escape before those of later steps.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn keep_symbols(keep: __mmask64, symbols: __m512i, escapes: &mut Escapes) {
    // From the places of lanes to their order.
    let keep =
        _pext_u64(keep, 0x5555_5555_5555_5555) | _pext_u64(keep, 0xaaaa_aaaa_aaaa_aaaa) << HALF;
    put_in_front(escapes, keep, symbols);
}

/// What symbols are looked up with.
struct EncodeTables {
    base: __m512i,
    last: __m512i,
    order: __m512i,
    low: [__m512i; 4],
    high: [__m512i; 4],
    /// Of at most 64.
    lengths: __m512i,
    /// Of more: what codes of symbols that have to be kept look like.
    escape: Option<[__m512i; 2]>,
    /// The fifth bit of bytes at even and at odd places.
    emit: [__m512i; 2],
}

/// What was looked up for 64 symbols.
struct Found {
    low: __m512i,
    high: __m512i,
    lengths: __m512i,
    keep: __mmask64,
    /// [`EncodeTables::emit`].
    emit: [__m512i; 2],
}

impl EncodeTables {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new<const WIDE: bool>(encoder: &Encoder<'_>) -> Self {
        let tables = encoder.tables;
        let [narrow_low, narrow_high, lengths] = &tables.in_window;
        let mut lengths = load(lengths);
        if !encoder.keep_escapes {
            lengths = _mm512_and_si512(lengths, _mm512_set1_epi8(!MARK as i8));
        }
        let [low, high] = if WIDE {
            [load_table(&tables.codes[0]), load_table(&tables.codes[1])]
        } else {
            [[load(narrow_low); 4], [load(narrow_high); 4]]
        };
        let escape = tables.escape.filter(|_| encoder.keep_escapes);
        Self {
            base: _mm512_set1_epi8(encoder.map.base as i8),
            last: _mm512_set1_epi8(encoder.map.last as i8),
            order: by_place(),
            low,
            high,
            lengths,
            escape: escape.map(|halves| halves.map(|byte| _mm512_set1_epi8(byte as i8))),
            emit: fifth_bits(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const WIDE: bool>(&self, symbols: __m512i) -> Found {
        let index = _mm512_min_epu8(_mm512_sub_epi8(symbols, self.base), self.last);
        let index = _mm512_permutexvar_epi8(self.order, index);
        let emit = self.emit;
        if WIDE {
            let upper = _mm512_movepi8_mask(index);
            let low = look_up_wide(&self.low, index, upper);
            let high = look_up_wide(&self.high, index, upper);
            let lengths = _mm512_and_si512(_mm512_srli_epi16::<4>(high), _mm512_set1_epi8(15));
            let keep = match self.escape {
                Some([escape_low, escape_high]) => {
                    let keep = _mm512_cmpeq_epi8_mask(low, escape_low);
                    _mm512_mask_cmpeq_epi8_mask(keep, high, escape_high)
                }
                None => 0,
            };
            Found { low, high, lengths, keep, emit }
        } else {
            let low = _mm512_permutexvar_epi8(index, self.low[0]);
            let high = _mm512_permutexvar_epi8(index, self.high[0]);
            let lengths = _mm512_permutexvar_epi8(index, self.lengths);
            Found { low, high, lengths, keep: _mm512_movepi8_mask(lengths), emit }
        }
    }
}

/// The fifth bit of bytes at even and at odd places. Were they known to the compiler, it would test for them in two
/// instructions.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn fifth_bits() -> [__m512i; 2] {
    black_box([_mm512_set1_epi16(0x0010), _mm512_set1_epi16(0x1000)])
}

/// All lanes of the encoder.
struct EncoderLanes {
    lookahead: [__m512i; 2],
    window: [__m512i; 2],
    bits: __m512i,
}

impl EncoderLanes {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &Saved) -> Self {
        let (lookahead, window, bits) = load_saved(lanes);
        Self { lookahead, window, bits }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> Saved {
        save(self.lookahead, self.window, self.bits)
    }

    /// One step; lanes whose length is 0 take no part. Returns the number of bytes emitted.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn step(&mut self, found: &Found, room: &mut [u8; GROUP]) -> usize {
        let sum = _mm512_add_epi8(self.bits, found.lengths);
        let codes = [
            bytes_of(found.low, _mm512_slli_epi16::<8>(found.high)),
            bytes_of(_mm512_srli_epi16::<8>(found.low), found.high),
        ];
        let lengths = [found.lengths, _mm512_srli_epi16::<8>(found.lengths)];
        let bits = [self.bits, _mm512_srli_epi16::<8>(self.bits)];
        let mut at = 0;
        for half in 0..2 {
            let emit = _mm512_test_epi16_mask(sum, found.emit[half]);
            let emitted = _mm512_maskz_compress_epi16(emit, self.lookahead[half]);
            if let Some(room) = room[at..].first_chunk_mut() {
                store(room, emitted);
            }
            at += 2 * emit.count_ones() as usize;
            let due = _mm512_shldv_epi16(codes[half], self.window[half], bits[half]);
            self.lookahead[half] = _mm512_mask_mov_epi16(self.lookahead[half], emit, due);
            self.window[half] = _mm512_shrdv_epi16(self.window[half], codes[half], lengths[half]);
        }
        self.bits = _mm512_and_si512(sum, _mm512_set1_epi8(15));
        at
    }
}
