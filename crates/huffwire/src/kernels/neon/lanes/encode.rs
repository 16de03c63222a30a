//! Encoder of lanes for NEON.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::{Bytes, PLACES, QUARTER, Table, chosen, load_quarters, look_up};
use crate::error::Result;
use crate::kernels::lanes::{CARRIED_BYTES, EncodeLanes, Escapes, LANES, SlotMap, no_room};
use crate::kernels::neon::Neon;
use crate::kernels::neon::isa::{load, load_half, store, store_half};
use crate::kernels::patterns::TOGETHER;
use crate::kernels::tables::{Bits8, MARK};

/// Encodes pieces of a plane, the last one first; see [`crate::kernels::lanes::Encoder`].
#[derive(Debug)]
pub(crate) struct Encoder<'t> {
    proof: Neon,
    tables: &'t Bits8,
    slots: usize,
    map: SlotMap,
    keep_escapes: bool,
    /// Between pieces: what [`Lanes`] holds.
    high: Bytes,
    low: Bytes,
    lookahead: Bytes,
    bits: Bytes,
}

/// Calls a method compiled for tables as large as the encoder's book needs.
macro_rules! dispatch {
    ($encoder:ident, $method:ident($($argument:expr),*)) => {{
        let _ = $encoder.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match $encoder.slots {
                ..=64 => $encoder.$method::<64>($($argument),*),
                ..=128 => $encoder.$method::<128>($($argument),*),
                _ => $encoder.$method::<256>($($argument),*),
            }
        }
    }};
}

impl<'t> Encoder<'t> {
    pub(super) fn new(
        proof: Neon,
        tables: &'t Bits8,
        slots: usize,
        map: SlotMap,
        carried: &[u8; CARRIED_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let zeros = [[0; QUARTER]; 4];
        let (mut low, mut lookahead) = (zeros, zeros);
        lookahead.as_flattened_mut().copy_from_slice(&carried[..LANES]);
        low.as_flattened_mut().copy_from_slice(&carried[LANES..]);
        Self { proof, tables, slots, map, keep_escapes, high: zeros, low, lookahead, bits: zeros }
    }

    /// Steps; only the lanes that are set in `active` take part where that is said to be `PARTIAL`.
    #[inline(never)]
    #[target_feature(enable = "neon")]
    fn push_steps<const ENTRIES: usize, const PARTIAL: bool>(
        &mut self,
        symbols: &[[u8; LANES]],
        active: &Bytes,
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let tables = CodeTables::new(self);
        let mut lanes = self.lanes();
        let mut at = *end;
        for symbols in symbols.iter().rev() {
            let (quarters, _) = symbols.as_chunks();
            let vectors =
                [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])];
            let (mut codes, mut lengths) = tables.look_up::<ENTRIES>(vectors);
            if PARTIAL {
                for (quarter, active) in active.iter().enumerate() {
                    codes[quarter] = vandq_u8(codes[quarter], load(active));
                    lengths[quarter] = vandq_u8(lengths[quarter], load(active));
                }
            }
            keep_marked(lengths, symbols, escapes);
            let room = stream.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            let Some(room) = room else { return Err(no_room(at + LANES, stream.len())) };
            at += lanes.step::<ENTRIES, PARTIAL>(codes, lengths, room);
        }
        *end = at;
        self.put_lanes(&lanes);
        Ok(())
    }

    #[target_feature(enable = "neon")]
    fn push_whole<const ENTRIES: usize>(
        &mut self,
        symbols: &[[u8; LANES]],
        stream: &mut [u8],
        end: &mut usize,
        escapes: &mut Escapes,
    ) -> Result<()> {
        let active = [[0xff; QUARTER]; 4];
        self.push_steps::<ENTRIES, false>(symbols, &active, stream, end, escapes)
    }

    /// Symbols that do not make a step, if there are any.
    #[target_feature(enable = "neon")]
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
        let (mut padded, mut active) = ([[0; LANES]], [[0; QUARTER]; 4]);
        padded.as_flattened_mut()[..symbols.len()].copy_from_slice(symbols);
        active.as_flattened_mut()[..symbols.len()].fill(0xff);
        self.push_steps::<ENTRIES, true>(&padded, &active, stream, end, escapes)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn lanes(&self) -> Lanes {
        Lanes {
            high: load_all(&self.high),
            low: load_all(&self.low),
            lookahead: load_all(&self.lookahead),
            bits: load_all(&self.bits),
            places: load(&PLACES),
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn put_lanes(&mut self, lanes: &Lanes) {
        for quarter in 0..4 {
            store(&mut self.high[quarter], lanes.high[quarter]);
            store(&mut self.low[quarter], lanes.low[quarter]);
            store(&mut self.lookahead[quarter], lanes.lookahead[quarter]);
            store(&mut self.bits[quarter], lanes.bits[quarter]);
        }
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
        let (whole, partial) = symbols.as_chunks();
        dispatch!(self, push_partial(partial, stream, end, escapes))?;
        dispatch!(self, push_whole(whole, stream, end, escapes))
    }

    fn finish(&self, states: &mut [u8]) {
        let (lookahead, low) = (self.lookahead.as_flattened(), self.low.as_flattened());
        let (high, bits) = (self.high.as_flattened(), self.bits.as_flattened());
        for lane in 0..LANES {
            // Above the bits their sentinel.
            let high = high[lane] | 1 << (bits[lane] & 7);
            for (place, byte) in [lookahead[lane], low[lane], high].into_iter().enumerate() {
                states[LANES * place + lane] = byte;
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_all(bytes: &Bytes) -> [uint8x16_t; 4] {
    [load(&bytes[0]), load(&bytes[1]), load(&bytes[2]), load(&bytes[3])]
}

/// What symbols are looked up with.
struct CodeTables {
    base: uint8x16_t,
    last: uint8x16_t,
    codes: Table,
    lengths: Table,
}

impl CodeTables {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(encoder: &Encoder<'_>) -> Self {
        let mut lengths = encoder.tables.lengths;
        if !encoder.keep_escapes {
            lengths.iter_mut().for_each(
                #[inline(always)]
                |length| *length &= !MARK,
            );
        }
        Self {
            base: vdupq_n_u8(encoder.map.base),
            last: vdupq_n_u8(encoder.map.last),
            codes: load_quarters(&encoder.tables.codes),
            lengths: load_quarters(&lengths),
        }
    }

    /// Codes and lengths of symbols.
    #[inline]
    #[target_feature(enable = "neon")]
    fn look_up<const ENTRIES: usize>(
        &self,
        symbols: [uint8x16_t; 4],
    ) -> ([uint8x16_t; 4], [uint8x16_t; 4]) {
        let [a, b, c, d] = symbols;
        let slots = [self.slots(a), self.slots(b), self.slots(c), self.slots(d)];
        let [a, b, c, d] = slots;
        let codes = [
            look_up::<ENTRIES>(&self.codes, a),
            look_up::<ENTRIES>(&self.codes, b),
            look_up::<ENTRIES>(&self.codes, c),
            look_up::<ENTRIES>(&self.codes, d),
        ];
        let lengths = [
            look_up::<ENTRIES>(&self.lengths, a),
            look_up::<ENTRIES>(&self.lengths, b),
            look_up::<ENTRIES>(&self.lengths, c),
            look_up::<ENTRIES>(&self.lengths, d),
        ];
        (codes, lengths)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn slots(&self, symbols: uint8x16_t) -> uint8x16_t {
        vminq_u8(vsubq_u8(symbols, self.base), self.last)
    }
}

/// Puts the symbols that take the escape before those of later steps: those with marked lengths.
#[inline]
#[target_feature(enable = "neon")]
fn keep_marked(lengths: [uint8x16_t; 4], symbols: &[u8; LANES], escapes: &mut Escapes) {
    let [a, b, c, d] = lengths;
    let any = vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d));
    if vmaxvq_u8(any) >= MARK {
        keep_symbols(lengths, symbols, escapes);
    }
}

/// Few symbols take the escape: a step in ten has one.
#[cold]
#[inline(never)]
#[target_feature(enable = "neon")]
fn keep_symbols(lengths: [uint8x16_t; 4], symbols: &[u8; LANES], escapes: &mut Escapes) {
    let [a, b, c, d] = lengths;
    let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
    let (c, d) = (vreinterpretq_s8_u8(c), vreinterpretq_s8_u8(d));
    let marked = [vcltzq_s8(a), vcltzq_s8(b), vcltzq_s8(c), vcltzq_s8(d)];
    let (mut keep, _) = chosen(marked, load(&PLACES));
    for place in escapes.front(keep.count_ones() as usize) {
        *place = symbols[keep.trailing_zeros() as usize % LANES];
        keep &= keep.wrapping_sub(1);
    }
}

/// All lanes.
struct Lanes {
    /// Bytes of the windows, whose bits are at the bottom, and what is below them.
    high: [uint8x16_t; 4],
    low: [uint8x16_t; 4],
    lookahead: [uint8x16_t; 4],
    /// Bits above 16.
    bits: [uint8x16_t; 4],
    places: uint8x16_t,
}

impl Lanes {
    /// One step; lanes whose length is 0 take no part. Returns the number of bytes emitted. (One for
    /// each caller, so that the compiler inlines it.)
    #[inline]
    #[target_feature(enable = "neon")]
    fn step<const ENTRIES: usize, const PARTIAL: bool>(
        &mut self,
        codes: [uint8x16_t; 4],
        lengths: [uint8x16_t; 4],
        room: &mut [u8; LANES],
    ) -> usize {
        let (seven, eight) = (vdupq_n_u8(7), vdupq_n_u8(8));
        let mut emitting = [seven; 4];
        let mut emitted = [[0; QUARTER]; 4];
        for quarter in 0..4 {
            let (code, bits) = (codes[quarter], self.bits[quarter]);
            let (low, high) = (self.low[quarter], self.high[quarter]);
            let to_left = vreinterpretq_s8_u8(bits);
            let to_right = vreinterpretq_s8_u8(vsubq_u8(bits, eight));
            let fits = vorrq_u8(high, vshlq_u8(code, to_left));
            let beyond = vshlq_u8(code, to_right);
            // A mark is bit 7, the count of bits at most 15.
            let sum = vaddq_u8(bits, lengths[quarter]);
            let emit = vtstq_u8(sum, eight);
            store(&mut emitted[quarter], self.lookahead[quarter]);
            self.lookahead[quarter] = vbslq_u8(emit, low, self.lookahead[quarter]);
            self.low[quarter] = vbslq_u8(emit, fits, low);
            self.high[quarter] = vbslq_u8(emit, beyond, fits);
            self.bits[quarter] = vandq_u8(sum, seven);
            emitting[quarter] = emit;
        }
        let (chosen, counts) = chosen(emitting, self.places);
        let (eights, _) = emitted.as_flattened().as_chunks::<8>();
        let mut at = 0;
        for (eight, bytes) in eights.iter().enumerate() {
            let pattern = &TOGETHER[usize::from((chosen >> (8 * eight)) as u8)];
            let together = vtbl1_u8(load_half(bytes), load_half(pattern));
            if let Some(place) = room.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                store_half(place, together);
            }
            at = usize::from((counts >> (8 * eight)) as u8);
        }
        at
    }
}
