//! The lane coder for AVX-512 with VBMI2: codes of at most 12 bits.
//!
//! # Bits of a lane
//!
//! As for short codes (`avx512.rs`) only `d = n - 16` is kept, here 0 to 15, in a byte: `d ± len` is the new
//! one in its lower four bits, and tells in the fifth whether a word moves. A lane is 32 bits in two
//! halves, 16-bit words each: one register for lanes 0 to 31, one for 32 to 63. Whatever is looked up is looked
//! up in bytes, 64 at a time: lane `j` is byte `2j`, lane `32 + j` byte `2j + 1`, so that bytes become
//! words by shifts and bitwise selections; one permutation turns that into the order of lanes.
//!
//! # Encoder
//!
//! A *window* holds `d` bits on top, 16 more lie in *reserve*. A funnel shift to the right by `len` lets the code
//! into the window from above; the word that goes to the reserve, when the one that was there is
//! emitted, is the code with the window's bits below, which another funnel shift puts together. Both use only the
//! bits of codes and counts that matter, so what lies above may be garbage. Two "compress" write the words of
//! a step.
//!
//! # Decoder
//!
//! A window holds `d` bits at the bottom, used ones above, and 16 more lie in reserve: a funnel shift by `d` gives the
//! 16 bits that are next. To take a word is to move the reserve to the window, and to "expand" the word to the
//! reserve. With 16 bits in reserve and codes of up to 12 the word may be looked at in the very next
//! step: that a step counts the words it takes before it can load them is what it waits for, and
//! why two planes side by side take little longer than one.
//!
//! # Tables
//!
//! No table of 4096 entries fits registers, and gathering 64 entries from memory takes 33 cycles, which is more than all
//! of what follows. Codes are canonical, so their lengths rise with the window:
//!
//! * The upper six bits of a window, a *bucket*, tell the length of its first code: `vpermb`. Longer codes
//!   that begin within a bucket begin where another `vpermb` says: one comparison for each length more. Few books
//!   need more than one, none more than five.
//! * With the length known the code is the window shifted, its rank the code plus an offset by length, and
//!   its slot what a table of 256 has at this rank. Nobody waits for that.
//! * If all codes of over 6 bits lie in the last two buckets, and there are at most 64 codes, as exponents have
//!   them, the rank is looked up instead: by bucket, plus a correction by the window's place in
//!   the last two, 0 for all windows before. Length and slot follow from the rank by one `vpermb` each.
//!
//! The encoder looks up codes and lengths by symbol: with `vpermb` if all symbols that have a code of their own lie within
//! 63, else in tables of 256, where lengths share bytes with the codes' upper halves.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use std::hint::black_box;

use super::{
    Escapes, FLOOR, INITIAL_BYTES, LANES, SlotMap, no_room, no_sentinel, out_of_words, wrong_end,
};
use crate::codebook::{Alphabet, Codebook, LongTables, MARK, MOST_BOUNDS};
use crate::error::Result;
use crate::platform::Avx512;
use crate::platform::avx512::{load, load_some, store, store_some};

/// Bytes that the words of a step may take.
const GROUP: usize = 2 * LANES;
/// Lanes whose words are in one register.
const HALF: usize = LANES / 2;
/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

/// Vectors in memory, between pieces.
type Saved = [[u8; 64]; 5];

/// Where a lane's byte is in a vector of bytes; its word begins at the even place of the two.
const fn place(lane: usize) -> usize {
    2 * (lane % HALF) + lane / HALF
}

/// For bytes in the order of lanes: where they come from, when they are to be put in their [`place`].
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn interleave() -> __m512i {
    load(&std::array::from_fn(|i| (i / 2 + i % 2 * HALF) as u8))
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn load_table(bytes: &[u8; 256]) -> [__m512i; 4] {
    let (quarters, _) = bytes.as_chunks::<64>();
    [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])]
}

/// The bytes of a table of 256 at the places in `index`, whose upper bits are `upper`.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn look_up_wide(table: &[__m512i; 4], index: __m512i, upper: __mmask64) -> __m512i {
    let low = _mm512_permutex2var_epi8(table[0], index, table[1]);
    let high = _mm512_permutex2var_epi8(table[2], index, table[3]);
    _mm512_mask_blend_epi8(upper, low, high)
}

/// Bytes: at even places the lower ones of words, at odd places the upper ones of other words.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn bytes_of(even: __m512i, odd: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(even, _mm512_set1_epi16(0x00ff), odd)
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn load_saved(lanes: &Saved) -> ([__m512i; 2], [__m512i; 2], __m512i) {
    let [a, b, c, d, bits] = lanes;
    ([load(a), load(b)], [load(c), load(d)], load(bits))
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn save([a, b]: [__m512i; 2], [c, d]: [__m512i; 2], bits: __m512i) -> Saved {
    let mut lanes = [[0; 64]; 5];
    for (bytes, vector) in lanes.iter_mut().zip([a, b, c, d, bits]) {
        store(bytes, vector);
    }
    lanes
}

/// Encodes pieces of a plane, the last one first; see [`super::Encoder`].
#[derive(Debug)]
pub(super) struct Encoder<'b> {
    proof: Avx512,
    tables: &'b LongTables,
    /// From symbols to indices of the tables.
    map: SlotMap,
    keep_escapes: bool,
    /// Between pieces: what [`EncoderLanes`] holds.
    lanes: Saved,
}

impl<'b> Encoder<'b> {
    pub(super) fn new(
        proof: Avx512,
        book: &Codebook,
        tables: &'b LongTables,
        map: SlotMap,
        initial: &[u8; INITIAL_BYTES],
        keep_escapes: bool,
    ) -> Self {
        let map = match (book.lengths().alphabet(), tables.window) {
            (Alphabet::Plain { width: 7.. }, Some(first)) => SlotMap { base: first, last: 63 },
            _ => map,
        };
        let mut lanes = [[0; 64]; 5];
        for lane in 0..LANES {
            let word = &mut lanes[lane / HALF][place(lane) & !1..];
            (word[0], word[1]) = (initial[lane], initial[LANES + lane]);
        }
        Self { proof, tables, map, keep_escapes, lanes }
    }

    pub(super) fn push(
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
                None => self.push_with::<true>(symbols, stream, end, escapes),
                Some(_) => self.push_with::<false>(symbols, stream, end, escapes),
            }
        }
    }

    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn push_with<const WIDE: bool>(
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
            let active = _mm512_permutexvar_epi8(interleave(), active);
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
                rarely();
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

    pub(super) fn finish(&self, states: &mut [u8]) {
        let (reserves, windows) = self.lanes.split_at(2);
        for (lane, state) in states.as_chunks_mut::<4>().0.iter_mut().enumerate().take(LANES) {
            let (half, at) = (lane / HALF, place(lane) & !1);
            let word = |halves: &[[u8; 64]]| {
                u32::from(u16::from_le_bytes([halves[half][at], halves[half][at + 1]]))
            };
            let bits = u32::from(self.lanes[4][place(lane)]);
            // Above the bits their sentinel.
            let window = 1 << bits | word(windows) >> (16 - bits);
            *state = (window << FLOOR | word(reserves)).to_le_bytes();
        }
    }
}

/// Tells the compiler that a branch is taken rarely.
#[cold]
const fn rarely() {}

/// Puts the symbols that take the escape before those of later steps.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn keep_symbols(keep: __mmask64, symbols: __m512i, escapes: &mut Escapes) {
    let place = escapes.front(keep.count_ones() as usize);
    // From the places of lanes to their order.
    let keep =
        _pext_u64(keep, 0x5555_5555_5555_5555) | _pext_u64(keep, 0xaaaa_aaaa_aaaa_aaaa) << HALF;
    store_some(place, _mm512_maskz_compress_epi8(keep, symbols));
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
            order: interleave(),
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
    reserve: [__m512i; 2],
    window: [__m512i; 2],
    bits: __m512i,
}

impl EncoderLanes {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(lanes: &Saved) -> Self {
        let (reserve, window, bits) = load_saved(lanes);
        Self { reserve, window, bits }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> Saved {
        save(self.reserve, self.window, self.bits)
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
            let emitted = _mm512_maskz_compress_epi16(emit, self.reserve[half]);
            if let Some(room) = room[at..].first_chunk_mut() {
                store(room, emitted);
            }
            at += 2 * emit.count_ones() as usize;
            let due = _mm512_shldv_epi16(codes[half], self.window[half], bits[half]);
            self.reserve[half] = _mm512_mask_mov_epi16(self.reserve[half], emit, due);
            self.window[half] = _mm512_shrdv_epi16(self.window[half], codes[half], lengths[half]);
        }
        self.bits = _mm512_and_si512(sum, _mm512_set1_epi8(15));
        at
    }
}

/// Decodes pieces of a plane, the first one first; see [`super::Decoder`].
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    proof: Avx512,
    tables: &'a LongTables,
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
    pub(super) fn new(
        proof: Avx512,
        tables: &'a LongTables,
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

    pub(super) fn pull(&mut self, symbols: &mut [u8]) -> Result<()> {
        let _ = self.proof;
        dispatch!(self.tables.peaked, self.tables.most_bounds, pull_with(self, symbols))
    }

    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_with<const KIND: usize>(&mut self, symbols: &mut [u8]) -> Result<()> {
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
            let active = _mm512_permutexvar_epi8(interleave(), active);
            store_some(partial, symbols);
            lanes.advance(&tables, _mm512_and_si512(shifts, active))?;
        }
        (self.lanes, self.left) = (lanes.store(), lanes.left);
        Ok(())
    }

    /// Two planes side by side: what one waits for, the other has time to do.
    pub(super) fn pull_two(
        [first, second]: [&mut Self; 2],
        [first_symbols, second_symbols]: [&mut [u8]; 2],
    ) -> [Result<()>; 2] {
        let outs = [&mut *first_symbols, &mut *second_symbols];
        // What decodes more kinds of books decodes both.
        let peaked = first.tables.peaked && second.tables.peaked;
        let bounds = first.tables.most_bounds.max(second.tables.most_bounds);
        let done = dispatch!(peaked, bounds, pull_both(first, second, outs));
        [first.pull(&mut first_symbols[done..]), second.pull(&mut second_symbols[done..])]
    }

    /// As many steps as both have words for without looking; returns the number of symbols decoded.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn pull_both<const KIND: usize>(
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

    pub(super) fn finish(&self) -> Result<[u8; INITIAL_BYTES]> {
        let [_, _, reserves @ .., bits] = &self.lanes;
        if *bits != [0; 64] || self.left > 0 || !self.odd.is_empty() {
            return Err(wrong_end());
        }
        let mut initial = [0; INITIAL_BYTES];
        for lane in 0..LANES {
            let word = &reserves[lane / HALF][place(lane) & !1..];
            (initial[lane], initial[LANES + lane]) = (word[0], word[1]);
        }
        Ok(initial)
    }
}

/// [`LongTables`] in registers.
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
    reserve: [__m512i; 2],
    bits: __m512i,
    words: &'a [[u8; 2]],
    left: usize,
}

impl<'a> DecoderLanes<'a> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn load(decoder: &Decoder<'a>) -> Self {
        let (window, reserve, bits) = load_saved(&decoder.lanes);
        Self { window, reserve, bits, words: decoder.words, left: decoder.left }
    }

    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn store(&self) -> Saved {
        save(self.window, self.reserve, self.bits)
    }

    /// The symbols that are next, and the shifts of their codes, for [`DecoderLanes::advance`].
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const KIND: usize>(&self, tables: &DecodeTables) -> (__m512i, __m512i) {
        let odd_bits = _mm512_srli_epi16::<8>(self.bits);
        let odd = _mm512_shrdv_epi16(self.reserve[1], self.window[1], odd_bits);
        let even = _mm512_shrdv_epi16(self.reserve[0], self.window[0], self.bits);
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
            let (window, reserve) = (self.window[half], self.reserve[half]);
            self.window[half] = _mm512_mask_mov_epi16(window, need[half], reserve);
            self.reserve[half] = _mm512_mask_expand_epi16(reserve, need[half], words[half]);
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
