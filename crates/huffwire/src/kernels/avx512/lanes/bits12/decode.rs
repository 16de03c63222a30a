//! The decoder of codes of at most 12 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use std::hint::black_box;

use super::{HALF, Saved, by_place, bytes_of, load_saved, load_table, look_up_wide, place, save};
use crate::error::Result;
use crate::kernels::avx512::Avx512;
use crate::kernels::avx512::isa::{load, load_some, store, store_some};
use crate::kernels::lanes::{
    CARRIED_BYTES, DecodeLanes, Escaped, FLOOR, LANES, no_sentinel, out_of_words, wrong_end,
};
use crate::kernels::tables::{Bits12, MOST_BOUNDS};

/// Decodes pieces of a plane, the first one first; see [`crate::kernels::lanes::Decoder`].
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    proof: Avx512,
    tables: &'a Bits12,
    base: u8,
    /// Between pieces: what [`DecoderLanes`] holds, but for the stream.
    lanes: Saved,
    /// What a stream has before its words, if it is not made of words.
    odd: &'a [u8],
    words: &'a [[u8; 2]],
    /// So many of them were not yet taken.
    left: usize,
}

/// How a book is decoded, as a constant for the compiler: by ranks looked up, or with at most so many bounds in
/// a bucket.
const PEAKED: usize = 0;

/// Calls a function compiled for books that are peaked, or have so many bounds in a bucket.
macro_rules! dispatch {
    ($peaked:expr, $bounds:expr, $function:ident($($argument:expr),*)) => {
        // SAFETY: the proof says that the processor has the instructions.
        unsafe {
            match $bounds {
                _ if $peaked => Self::$function::<PEAKED>($($argument),*),
                0..=1 => Self::$function::<1>($($argument),*),
                2 => Self::$function::<2>($($argument),*),
                _ => Self::$function::<MOST_BOUNDS>($($argument),*),
            }
        }
    };
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(
        proof: Avx512,
        tables: &'a Bits12,
        base: u8,
        states: &[u8],
        stream: &'a [u8],
    ) -> Result<Self> {
        let mut lanes = [[0; 64]; 5];
        for (lane, state) in states.as_chunks::<4>().0.iter().enumerate().take(LANES) {
            let word = u32::from_le_bytes(*state);
            if word >> FLOOR == 0 {
                return Err(no_sentinel(lane));
            }
            let (half, at) = (lane / HALF, place(lane) & !1);
            // The sentinel may stay where it is: it counts as a used bit.
            lanes[half][at..at + 2].copy_from_slice(&state[2..]);
            lanes[2 + half][at..at + 2].copy_from_slice(&state[..2]);
            lanes[4][place(lane)] = (word.ilog2() - FLOOR) as u8;
        }
        let (odd, words) = stream.as_rchunks();
        Ok(Self { proof, tables, base, lanes, odd, words, left: words.len() })
    }

    /// Symbols without their escapes.
    fn pull_slots(&mut self, symbols: &mut [u8]) -> Result<()> {
        let _ = self.proof;
        dispatch!(self.tables.peaked, self.tables.most_bounds, pull_steps(self, symbols))
    }

    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_steps<const KIND: usize>(&mut self, symbols: &mut [u8]) -> Result<()> {
        let tables = DecodeTables::new::<KIND>(self);
        let mut lanes = DecoderLanes::load(self);
        let (whole, partial) = symbols.as_chunks_mut::<LANES>();
        for place in whole {
            let (symbols, shifts) = lanes.look_up::<KIND>(&tables);
            store(place, symbols);
            lanes.advance(&tables, shifts)?;
        }
        if !partial.is_empty() {
            let (symbols, shifts) = lanes.look_up::<KIND>(&tables);
            let active = load_some(&[0xff; LANES][..partial.len()]);
            let active = _mm512_permutexvar_epi8(by_place(), active);
            store_some(partial, symbols);
            lanes.advance(&tables, _mm512_and_si512(shifts, active))?;
        }
        (self.lanes, self.left) = (lanes.store(), lanes.left);
        Ok(())
    }

    /// As many steps as both have words for without looking; returns the number of symbols decoded.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_both_steps<const KIND: usize>(
        first: &mut Self,
        second: &mut Self,
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> usize {
        let first_tables = DecodeTables::new::<KIND>(first);
        let second_tables = DecodeTables::new::<KIND>(second);
        let mut a = DecoderLanes::load(first);
        let mut b = DecoderLanes::load(second);
        let (first_places, _) = first_symbols.as_chunks_mut::<LANES>();
        let (second_places, _) = second_symbols.as_chunks_mut::<LANES>();
        let mut done = 0;
        for (first_place, second_place) in first_places.iter_mut().zip(second_places) {
            // With a group in the stream a step cannot run out of words.
            if a.left < LANES || b.left < LANES {
                break;
            }
            let (symbols, a_shifts) = a.look_up::<KIND>(&first_tables);
            store(first_place, symbols);
            let (symbols, b_shifts) = b.look_up::<KIND>(&second_tables);
            store(second_place, symbols);
            if a.advance(&first_tables, a_shifts).is_err()
                || b.advance(&second_tables, b_shifts).is_err()
            {
                break;
            }
            done += LANES;
        }
        (first.lanes, first.left) = (a.store(), a.left);
        (second.lanes, second.left) = (b.store(), b.left);
        done
    }
}

impl DecodeLanes for Decoder<'_> {
    fn pull(&mut self, escaped: &mut Escaped<'_>, symbols: &mut [u8]) -> Result<()> {
        self.pull_slots(symbols)?;
        escaped.complete(self.proof, symbols);
        Ok(())
    }

    /// Two planes side by side: what one waits for, the other has time to do.
    fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_escaped, second_escaped]: [&mut Escaped<'_>; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        let outs = [&mut *first_symbols, &mut *second_symbols];
        // What decodes more kinds of books decodes both.
        let peaked = first.tables.peaked && second.tables.peaked;
        let bounds = first.tables.most_bounds.max(second.tables.most_bounds);
        let done = dispatch!(peaked, bounds, pull_both_steps(first, second, outs));
        let results = [
            first.pull_slots(&mut first_symbols[done..]),
            second.pull_slots(&mut second_symbols[done..]),
        ];
        first_escaped.complete(first.proof, first_symbols);
        second_escaped.complete(second.proof, second_symbols);
        results
    }

    fn finish(&self) -> Result<[u8; CARRIED_BYTES]> {
        let [_, _, lookaheads @ .., bits] = &self.lanes;
        if *bits != [0; 64] || self.left > 0 || !self.odd.is_empty() {
            return Err(wrong_end());
        }
        let mut carried = [0; CARRIED_BYTES];
        for lane in 0..LANES {
            let word = &lookaheads[lane / HALF][place(lane) & !1..];
            (carried[lane], carried[LANES + lane]) = (word[0], word[1]);
        }
        Ok(carried)
    }
}

/// [`Bits12`] in registers.
struct DecodeTables {
    ranks: __m512i,
    tail: [__m512i; 2],
    shifts_by_rank: __m512i,
    shifts: __m512i,
    bounds: [__m512i; MOST_BOUNDS],
    offsets: __m512i,
    symbols: [__m512i; 4],
    order: __m512i,
    /// Were it known to the compiler, it would make a mask bytes, and subtract these.
    one: __m512i,
    borrow: __m512i,
}

impl DecodeTables {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new<const KIND: usize>(decoder: &Decoder<'_>) -> Self {
        let tables = decoder.tables;
        let (tail, _) = tables.tail.as_chunks::<64>();
        let [a, b, c, d, e] = &tables.bounds;
        let base = _mm512_set1_epi8(decoder.base as i8);
        let slots = load_table(&tables.slots);
        Self {
            ranks: load(&tables.ranks),
            tail: [load(&tail[0]), load(&tail[1])],
            shifts_by_rank: load(&tables.shifts_by_rank),
            shifts: load(&tables.shifts),
            bounds: [load(a), load(b), load(c), load(d), load(e)],
            offsets: load(&tables.offsets),
            symbols: slots.map(|slots| _mm512_add_epi8(slots, base)),
            order: load(&std::array::from_fn(|lane| place(lane) as u8)),
            one: black_box(_mm512_set1_epi8(1)),
            borrow: black_box(_mm512_set1_epi16(0x0010)),
        }
    }

    /// Symbols, and shifts of their codes, that words begin with.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const KIND: usize>(&self, even: __m512i, odd: __m512i) -> (__m512i, __m512i) {
        if KIND == PEAKED {
            let first = _mm512_set1_epi16(0xf800_u16 as i16);
            let beyond = bytes_of(
                _mm512_srli_epi16::<4>(_mm512_max_epu16(even, first)),
                _mm512_slli_epi16::<4>(_mm512_max_epu16(odd, first)),
            );
            let corrections = _mm512_permutex2var_epi8(self.tail[0], beyond, self.tail[1]);
            let bucket = bytes_of(_mm512_srli_epi16::<10>(even), _mm512_srli_epi16::<2>(odd));
            let firsts = _mm512_permutexvar_epi8(bucket, self.ranks);
            let ranks = _mm512_add_epi8(corrections, firsts);
            let shifts = _mm512_permutexvar_epi8(ranks, self.shifts_by_rank);
            return (_mm512_permutexvar_epi8(ranks, self.symbols[0]), shifts);
        }
        let bucket = bytes_of(_mm512_srli_epi16::<10>(even), _mm512_srli_epi16::<2>(odd));
        let lower = bytes_of(_mm512_srli_epi16::<4>(even), _mm512_slli_epi16::<4>(odd));
        let mut shifts = _mm512_permutexvar_epi8(bucket, self.shifts);
        for bounds in &self.bounds[..KIND] {
            let beyond = _mm512_cmpgt_epu8_mask(lower, _mm512_permutexvar_epi8(bucket, *bounds));
            shifts = _mm512_mask_sub_epi8(shifts, beyond, shifts, self.one);
        }
        let zero = _mm512_setzero_si512();
        let odd_shifts = _mm512_srli_epi16::<8>(shifts);
        let codes = bytes_of(
            _mm512_shrdv_epi16(even, zero, shifts),
            _mm512_slli_epi16::<8>(_mm512_shrdv_epi16(odd, zero, odd_shifts)),
        );
        let ranks = _mm512_add_epi8(codes, _mm512_permutexvar_epi8(shifts, self.offsets));
        (look_up_wide(&self.symbols, ranks, _mm512_movepi8_mask(ranks)), shifts)
    }
}

/// All lanes of a decoder.
struct DecoderLanes<'a> {
    window: [__m512i; 2],
    lookahead: [__m512i; 2],
    bits: __m512i,
    words: &'a [[u8; 2]],
    left: usize,
}

impl<'a> DecoderLanes<'a> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(decoder: &Decoder<'a>) -> Self {
        let (window, lookahead, bits) = load_saved(&decoder.lanes);
        Self { window, lookahead, bits, words: decoder.words, left: decoder.left }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> Saved {
        save(self.window, self.lookahead, self.bits)
    }

    /// The symbols that are next, and the shifts of their codes, for [`DecoderLanes::advance`].
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const KIND: usize>(&self, tables: &DecodeTables) -> (__m512i, __m512i) {
        let odd_bits = _mm512_srli_epi16::<8>(self.bits);
        let odd = _mm512_shrdv_epi16(self.lookahead[1], self.window[1], odd_bits);
        let even = _mm512_shrdv_epi16(self.lookahead[0], self.window[0], self.bits);
        let (symbols, shifts) = tables.look_up::<KIND>(even, odd);
        (_mm512_permutexvar_epi8(tables.order, symbols), shifts)
    }

    /// Drops codes, and takes words where too few bits are left. A shift of 0 leaves a lane as it is.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn advance(&mut self, tables: &DecodeTables, shifts: __m512i) -> Result<()> {
        let left = _mm512_add_epi8(self.bits, shifts);
        let need = [_mm512_test_epi16_mask(left, tables.borrow), _mm512_movepi16_mask(left)];
        self.bits = _mm512_and_si512(left, _mm512_set1_epi8(15));
        let counts = need.map(|need| need.count_ones() as usize);
        // The words of the second half lie before those of the steps before, the first half's before them.
        let second = self.left.wrapping_sub(counts[1]);
        let first = second.wrapping_sub(counts[0]);
        if counts[0] + counts[1] > self.left {
            return Err(out_of_words());
        }
        self.left = first;
        let words = [words_from(self.words, first), words_from(self.words, second)];
        for half in 0..2 {
            let (window, lookahead) = (self.window[half], self.lookahead[half]);
            self.window[half] = _mm512_mask_mov_epi16(window, need[half], lookahead);
            self.lookahead[half] = _mm512_mask_expand_epi16(lookahead, need[half], words[half]);
        }
        Ok(())
    }
}

/// As many words as there are, up to 32.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn words_from(words: &[[u8; 2]], from: usize) -> __m512i {
    // A comparison and a branch, for which the load need not wait.
    match words
        .get(from..from.wrapping_add(HALF))
        .and_then(|words| words.as_flattened().first_chunk())
    {
        Some(words) => load(words),
        None => load_some(words.get(from..).unwrap_or_default().as_flattened()),
    }
}
