//! Decoder of lanes for NEON.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::encode::load_all;
use super::{Bytes, PLACES, QUARTER, Table, chosen, load_quarters, look_up};
use crate::error::Result;
use crate::kernels::lanes::{
    CARRIED_BYTES, DecodeLanes, Escaped, LANES, no_sentinel, out_of_words, wrong_end,
};
use crate::kernels::neon::Neon;
use crate::kernels::neon::isa::{load, load_half, store};
use crate::kernels::patterns::LAST_APART;
use crate::kernels::tables::{Bits8, MARK};

/// Decodes pieces of a plane, the first one first; see [`crate::kernels::lanes::Decoder`].
#[derive(Debug)]
pub(crate) struct Decoder<'t> {
    proof: Neon,
    kind: Kind,
    tables: &'t Bits8,
    base: u8,
    /// Between pieces: what [`Lanes`] holds.
    high: Bytes,
    low: Bytes,
    lookahead: Bytes,
    bits: Bytes,
    stream: &'t [u8],
}

/// How a book is decoded.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Tables of 64 entries for symbols and, by slot, for lengths.
    Narrow,
    /// Tables of 64 entries, though there are more slots.
    Short,
    /// Tables of 256 entries.
    Wide,
}

/// [`Kind`] as a constant for the compiler.
const NARROW: u8 = 0;
const SHORT: u8 = 1;
const WIDE: u8 = 2;

/// Calls a method compiled for the kind of the decoder's book.
macro_rules! dispatch {
    ($decoder:ident, $method:ident($($argument:expr),*)) => {{
        let _ = $decoder.proof;
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match $decoder.kind {
                Kind::Narrow => $decoder.$method::<NARROW>($($argument),*),
                Kind::Short => $decoder.$method::<SHORT>($($argument),*),
                Kind::Wide => $decoder.$method::<WIDE>($($argument),*),
            }
        }
    }};
}

impl<'t> Decoder<'t> {
    pub(super) fn new(
        proof: Neon,
        tables: &'t Bits8,
        slots: usize,
        base: u8,
        states: &[u8],
        stream: &'t [u8],
    ) -> Result<Self> {
        let kind = match (tables.halved, slots) {
            (true, ..=64) => Kind::Narrow,
            (true, _) => Kind::Short,
            (false, _) => Kind::Wide,
        };
        let (quarters, _) = states.as_chunks::<QUARTER>();
        let &[r0, r1, r2, r3, l0, l1, l2, l3, h0, h1, h2, h3] = quarters else {
            return Err(out_of_words());
        };
        let (high, low, lookahead) = ([h0, h1, h2, h3], [l0, l1, l2, l3], [r0, r1, r2, r3]);
        let mut bits = [[0; QUARTER]; 4];
        let lanes = high.as_flattened().iter().zip(bits.as_flattened_mut());
        for (lane, (high, bits)) in lanes.enumerate() {
            // The sentinel is the top bit of the high byte: its place is the number of bits above 16.
            *bits = high.checked_ilog2().ok_or_else(|| no_sentinel(lane))? as u8;
        }
        Ok(Self { proof, kind, tables, base, high, low, lookahead, bits, stream })
    }

    /// Steps, as long as `stream` has a word for each lane; only the lanes that are set in `active` take part where
    /// that is said to be `PARTIAL`. Returns how many, and how many words are left.
    #[inline(never)]
    #[target_feature(enable = "neon")]
    fn pull_steps<const KIND: u8, const PARTIAL: bool>(
        &mut self,
        symbols: &mut [[u8; LANES]],
        stream: &[u8],
        active: &Bytes,
    ) -> (usize, usize) {
        let tables = WindowTables::new::<KIND>(self);
        let mut lanes = self.lanes();
        let mut left = stream.len();
        let mut done = 0;
        for place in symbols {
            let Some(words) = stream.get(..left).and_then(<[u8]>::last_chunk) else { break };
            let (found, mut lengths) = tables.look_up::<KIND>(lanes.windows());
            put(place, found);
            if PARTIAL {
                for (lengths, active) in lengths.iter_mut().zip(active) {
                    *lengths = vandq_u8(*lengths, load(active));
                }
            }
            left -= lanes.advance::<KIND, PARTIAL>(lengths, words);
            done += 1;
        }
        self.put_lanes(&lanes);
        (done, left)
    }

    /// Whole steps, as long as there is a word for each lane; returns how many.
    #[target_feature(enable = "neon")]
    fn pull_whole<const KIND: u8>(&mut self, symbols: &mut [[u8; LANES]]) -> usize {
        let active = [[0xff; QUARTER]; 4];
        let (done, left) = self.pull_steps::<KIND, false>(symbols, self.stream, &active);
        self.stream = &self.stream[..left];
        done
    }

    /// One step with the last words, or of which not all lanes are active.
    #[cold]
    #[target_feature(enable = "neon")]
    fn pull_last<const KIND: u8>(&mut self, symbols: &mut [u8]) -> Result<()> {
        // Zeros before the first word, to be read, but not to be taken.
        let mut words = [0; LANES];
        let there = self.stream.len().min(LANES);
        words[LANES - there..].copy_from_slice(&self.stream[self.stream.len() - there..]);
        let mut active = [[0; QUARTER]; 4];
        active.as_flattened_mut()[..symbols.len()].fill(0xff);
        let mut padded = [[0; LANES]];
        let (_, left) = self.pull_steps::<KIND, true>(&mut padded, &words, &active);
        symbols.copy_from_slice(&padded.as_flattened()[..symbols.len()]);
        let left = self.stream.len().checked_sub(LANES - left).ok_or_else(out_of_words)?;
        self.stream = &self.stream[..left];
        Ok(())
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

impl DecodeLanes for Decoder<'_> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.as_chunks_mut();
        let done = dispatch!(self, pull_whole(whole));
        for symbols in whole[done..].iter_mut().map(<[u8; LANES]>::as_mut_slice).chain([partial]) {
            if !symbols.is_empty() {
                dispatch!(self, pull_last(symbols))?;
            }
        }
        escaped.complete(self.proof, symbols);
        Ok(())
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        if self.bits != [[0; QUARTER]; 4] || !self.stream.is_empty() {
            return Err(wrong_end());
        }
        let mut carried = [0; CARRIED_BYTES];
        carried[..LANES].copy_from_slice(self.lookahead.as_flattened());
        carried[LANES..].copy_from_slice(self.low.as_flattened());
        Ok(carried)
    }
}

/// Stores the symbols of a step.
#[inline]
#[target_feature(enable = "neon")]
fn put(place: &mut [u8; LANES], [a, b, c, d]: [uint8x16_t; 4]) {
    let (quarters, _) = place.as_chunks_mut::<QUARTER>();
    store(&mut quarters[0], a);
    store(&mut quarters[1], b);
    store(&mut quarters[2], c);
    store(&mut quarters[3], d);
}

/// Tables by window.
struct WindowTables {
    symbols: Table,
    lengths: Table,
    base: uint8x16_t,
}

impl WindowTables {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new<const KIND: u8>(decoder: &Decoder<'_>) -> Self {
        let tables = decoder.tables;
        let lengths = if KIND == NARROW { &tables.lengths } else { &tables.window_lengths };
        Self {
            symbols: load_quarters(&tables.window_slots),
            lengths: load_quarters(lengths),
            base: vdupq_n_u8(decoder.base),
        }
    }

    /// Symbols and lengths of the codes that windows begin with.
    #[inline]
    #[target_feature(enable = "neon")]
    fn look_up<const KIND: u8>(
        &self,
        [a, b, c, d]: [uint8x16_t; 4],
    ) -> ([uint8x16_t; 4], [uint8x16_t; 4]) {
        let ((a, a_lengths), (b, b_lengths)) = (self.found::<KIND>(a), self.found::<KIND>(b));
        let ((c, c_lengths), (d, d_lengths)) = (self.found::<KIND>(c), self.found::<KIND>(d));
        ([a, b, c, d], [a_lengths, b_lengths, c_lengths, d_lengths])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn found<const KIND: u8>(&self, windows: uint8x16_t) -> (uint8x16_t, uint8x16_t) {
        let unmarked = vdupq_n_u8(!MARK);
        if KIND == WIDE {
            let slots = look_up::<256>(&self.symbols, windows);
            let lengths = look_up::<256>(&self.lengths, windows);
            return (vaddq_u8(slots, self.base), vandq_u8(lengths, unmarked));
        }
        let upper_six = vshrq_n_u8::<2>(windows);
        // 0 for all below 0xc0, where nothing has to be added.
        let beyond = vqsubq_u8(windows, vdupq_n_u8(0xc0));
        let first = vqtbl4q_u8(self.symbols[0], upper_six);
        let slots = vaddq_u8(first, vqtbl4q_u8(self.symbols[1], beyond));
        let lengths = if KIND == NARROW {
            vqtbl4q_u8(self.lengths[0], slots)
        } else {
            let first = vqtbl4q_u8(self.lengths[0], upper_six);
            vaddq_u8(first, vqtbl4q_u8(self.lengths[1], beyond))
        };
        (vaddq_u8(slots, self.base), vandq_u8(lengths, unmarked))
    }
}

/// All lanes.
struct Lanes {
    /// Bytes of the windows, whose unread bits are at the bottom, and what is below them.
    high: [uint8x16_t; 4],
    low: [uint8x16_t; 4],
    lookahead: [uint8x16_t; 4],
    /// Bits above 16.
    bits: [uint8x16_t; 4],
    places: uint8x16_t,
}

impl Lanes {
    /// The next 8 bits of each lane.
    #[inline]
    #[target_feature(enable = "neon")]
    fn windows(&self) -> [uint8x16_t; 4] {
        [self.window(0), self.window(1), self.window(2), self.window(3)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn window(&self, quarter: usize) -> uint8x16_t {
        let down = vnegq_s8(vreinterpretq_s8_u8(self.bits[quarter]));
        let up = vaddq_s8(down, vdupq_n_s8(8));
        vorrq_u8(vshlq_u8(self.high[quarter], up), vshlq_u8(self.low[quarter], down))
    }

    /// Drops codes, and gives the last of `words` to the lanes left with fewer than 16 bits; returns how many those are.
    /// A length of 0 leaves a lane as it is. (One for each caller, so that the compiler inlines it.)
    #[inline]
    #[target_feature(enable = "neon")]
    fn advance<const KIND: u8, const PARTIAL: bool>(
        &mut self,
        lengths: [uint8x16_t; 4],
        words: &[u8; LANES],
    ) -> usize {
        let mut needy = self.bits;
        for quarter in 0..4 {
            let left = vsubq_u8(self.bits[quarter], lengths[quarter]);
            let need = vcltzq_s8(vreinterpretq_s8_u8(left));
            let (low, lookahead) = (self.low[quarter], self.lookahead[quarter]);
            self.high[quarter] = vbslq_u8(need, low, self.high[quarter]);
            self.low[quarter] = vbslq_u8(need, lookahead, low);
            self.lookahead[quarter] = vbicq_u8(lookahead, need);
            self.bits[quarter] = vandq_u8(left, vdupq_n_u8(7));
            needy[quarter] = need;
        }
        let (chosen, counts) = chosen(needy, self.places);
        let taken = usize::from((counts >> 56) as u8);
        for quarter in 0..4 {
            let given = vcombine_u8(
                words_of(words, chosen, counts, 2 * quarter),
                words_of(words, chosen, counts, 2 * quarter + 1),
            );
            self.lookahead[quarter] = vorrq_u8(self.lookahead[quarter], given);
        }
        taken
    }
}

/// Some of the last of 64 words, for the chosen of eight lanes; 0 for the others. `chosen` and `counts` are those of
/// [`super::chosen`].
#[inline]
#[target_feature(enable = "neon")]
fn words_of(words: &[u8; LANES], chosen: u64, counts: u64, eight: usize) -> uint8x8_t {
    let of_later = ((counts >> 56) as usize).wrapping_sub((counts >> (8 * eight)) as usize % 128);
    let pattern = &LAST_APART[(chosen >> (8 * eight)) as usize % 256];
    // At most all lanes after these eight take words, 56 of them or fewer: known to the compiler, it checks nothing.
    let start = LANES - 8 - of_later.min(LANES - 8);
    let bytes = load_half(words[start..].first_chunk().unwrap_or(&[0; 8]));
    vtbl1_u8(bytes, load_half(pattern))
}
