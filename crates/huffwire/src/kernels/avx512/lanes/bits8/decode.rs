//! The decoder of codes of at most 8 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::sink::{Sink, to_put};
use super::{
    A_AND_B_OR_C, A_IF_B_ELSE_C, ALL, SIGNED, SIGNED_STREAMED, STREAMED, SYMBOLS, WORDS,
    load_table, look_up,
};
use crate::error::Result;
use crate::kernels::avx512::Avx512;
use crate::kernels::avx512::isa::{Fence, load, load_some, store};
use crate::kernels::lanes::{
    CARRIED_BYTES, DecodeLanes, Escaped, Join, LANES, Reading, ToMerge, no_sentinel, out_of_words,
    wrong_end,
};
use crate::kernels::tables::{Bits8, MARK};

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

/// Decodes pieces of a plane, the first one first; see [`crate::kernels::lanes::Decoder`].
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    proof: Avx512,
    kind: Kind,
    tables: &'a Bits8,
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
    pub(crate) fn new(
        proof: Avx512,
        tables: &'a Bits8,
        slots: usize,
        reading: Reading<'_>,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let kind = match (tables.halved, slots) {
            (true, ..=64) => Kind::Narrow,
            (true, _) => Kind::Short,
            (false, ..=128) => Kind::Middle,
            (false, _) => Kind::Wide,
        };
        let (base, marks) = (reading.base(), reading.marks());
        let states = states.first_chunk().ok_or_else(out_of_words)?;
        // SAFETY: the proof says that the processor has the instructions.
        let lanes = unsafe { DecoderLanes::begin(states) }?;
        Ok(Self { proof, kind, tables, base, marks, lanes, stream, end: stream.len() })
    }

    /// Whole steps: [`SYMBOLS`], or what [`ToMerge`] is about, 16-bit [`WORDS`] or [`SIGNED`] bytes, perhaps past
    /// the caches.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_steps<const KIND: u8, const OUTPUT: u8>(
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
    fn pull_both_steps<const KIND: u8, const OUTPUT: u8>(
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
}

impl DecodeLanes for Decoder<'_> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        let (whole, partial) = symbols.split_at_mut(symbols.len() / LANES * LANES);
        dispatch!(self, pull_steps::<_, SYMBOLS>(escaped, to_put(whole)))?;
        dispatch!(self, pull_partial::<_>(escaped, partial))
    }

    /// See [`crate::kernels::lanes::Decoder::pull_merged`].
    fn pull_merged(&mut self, escaped: &mut Escaped<'_>, output: ToMerge<'_>) -> Result<()> {
        match (output.join, output.cache.streams()) {
            (Join::High, false) => dispatch!(self, pull_steps::<_, WORDS>(escaped, output)),
            (Join::High, true) => {
                let _fence = Fence::new();
                dispatch!(self, pull_steps::<_, STREAMED>(escaped, output))
            }
            (Join::Signs { .. }, false) => {
                dispatch!(self, pull_steps::<_, SIGNED>(escaped, output))
            }
            (Join::Signs { .. }, true) => {
                let _fence = Fence::new();
                dispatch!(self, pull_steps::<_, SIGNED_STREAMED>(escaped, output))
            }
        }
    }

    /// Two planes side by side: the steps of one wait for each other less than half of the time.
    fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        let mut done = 0;
        if first.kind == second.kind {
            let escaped = [&mut *first_escaped, &mut *second_escaped];
            let outs = [to_put(first_symbols), to_put(second_symbols)];
            done = dispatch!(first, pull_both_steps::<_, SYMBOLS>(second, escaped, outs));
        }
        [
            first.pull(first_escaped, &mut first_symbols[done..]),
            second.pull(second_escaped, &mut second_symbols[done..]),
        ]
    }

    /// See [`crate::kernels::lanes::Decoder::pull_merged_of_two`].
    fn pull_merged_of_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [mut a, mut b]: [ToMerge<'_>; 2],
    ) -> [Result<()>; 2] {
        let mut done = 0;
        let ways = [&a, &b].map(|output| (output.join, output.cache.streams()));
        if first.kind == second.kind && ways[0] == ways[1] {
            let escaped = [&mut *first_escaped, &mut *second_escaped];
            let outs = [a.reborrow(), b.reborrow()];
            done = match ways[0] {
                (Join::High, false) => {
                    dispatch!(first, pull_both_steps::<_, WORDS>(second, escaped, outs))
                }
                (Join::High, true) => {
                    let _fence = Fence::new();
                    dispatch!(first, pull_both_steps::<_, STREAMED>(second, escaped, outs))
                }
                (Join::Signs { .. }, false) => {
                    dispatch!(first, pull_both_steps::<_, SIGNED>(second, escaped, outs))
                }
                (Join::Signs { .. }, true) => {
                    let _fence = Fence::new();
                    dispatch!(first, pull_both_steps::<_, SIGNED_STREAMED>(second, escaped, outs))
                }
            };
        }
        [
            first.pull_merged(first_escaped, a.after(done)),
            second.pull_merged(second_escaped, b.after(done)),
        ]
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        let [_, low, lookahead, bits] = &self.lanes;
        // SAFETY: the proof says that the processor has the instructions.
        let starts = unsafe {
            let mut bytes = [0; 64];
            store(&mut bytes, starts());
            bytes
        };
        if *bits != starts || self.end > 0 {
            return Err(wrong_end());
        }
        let mut carried = [0; CARRIED_BYTES];
        carried[..LANES].copy_from_slice(lookahead);
        carried[LANES..].copy_from_slice(low);
        Ok(carried)
    }
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
    /// High and low bytes of the windows, and the bytes of lookahead.
    high: __m512i,
    low: __m512i,
    lookahead: __m512i,
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
        let [lookahead, low, high] = [0, 1, 2].map(|place| load(&places[place]));
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
        Ok(Self { high, low, lookahead, bits, stream: &[], end: 0 }.store())
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &[[u8; 64]; 4], stream: &'a [u8], end: usize) -> Self {
        let [high, low, lookahead, bits] = lanes;
        let (high, low, lookahead, bits) = (load(high), load(low), load(lookahead), load(bits));
        Self { high, low, lookahead, bits, stream, end }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> [[u8; 64]; 4] {
        let mut lanes = [[0; 64]; 4];
        for (bytes, vector) in
            lanes.iter_mut().zip([self.high, self.low, self.lookahead, self.bits])
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
        // Loaded as late as this, the words have a whole step to reach their lanes before anybody looks at them.
        let words = match self.stream.get(end..end + LANES).and_then(<[u8]>::first_chunk) {
            Some(words) => load(words),
            None => load_some(self.stream.get(end..).unwrap_or(&[])),
        };
        self.high = _mm512_mask_mov_epi8(self.high, need, self.low);
        self.low = _mm512_mask_mov_epi8(self.low, need, self.lookahead);
        self.lookahead = _mm512_mask_expand_epi8(self.lookahead, need, words);
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
