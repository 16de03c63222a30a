//! The lane coder for AVX-512 with VBMI2: codes of at most 8 bits, all 64 lanes in a few registers.
//!
//! # Bits of a lane
//!
//! A lane has 8 to 15 unread bits. Only `d = n - 8` is kept, and it costs next to nothing: adding a code
//! of `len` bits, or dropping one, is `d ± len`, bit 3 of the result tells whether a byte moves, and its
//! low three bits are the new `d`, moved byte or not.
//!
//! The 16-bit windows of 64 lanes fill two registers, one for the lanes at even bytes of a 64-byte
//! vector, one for those at odd bytes: then going from bytes to words takes shifts and bitwise
//! selections, not the shuffles that keep port 5 of Intel's processors busy.
//!
//! # Encoder
//!
//! A window holds its bits on top, the next to be read at the low end of them. A funnel shift to the
//! right by `len` lets the code in from above and drops at the bottom what was emitted: code and
//! count may carry garbage in their upper bits, since the funnel shift uses only the lower ones. The
//! byte to emit lies `d` bits below the top. Bytes of the vector stand for lanes in *descending* order,
//! so that "compress" writes the words of a step as the format has them.
//!
//! # Decoder
//!
//! A window holds its bits at the bottom, and above them bits that were used already: dropping a code
//! changes nothing but `d`. To take a byte is to move all up by a byte, which planes of low and
//! high bytes do under a mask ("expand" for the low, a blend for the high). "Multishift" takes
//! 8 bits of 64 from any bit on, for eight lanes at once: there are the indices for the tables.
//!
//! # Tables
//!
//! `vpermb` looks up 64 bytes in a table of 64, `vpermi2b` in one of 128, at three times the cost. All
//! books with at most 64 slots encode with `vpermb`. A book whose codes of over 6 bits all lie in the top
//! quarter of the code space, as narrow ones do by definition, decodes with two: one on the top six bits
//! of a window, and one with corrections on the low six bits of windows from 0xc0 on.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::{LANES, no_room, no_sentinel, out_of_words, outside_alphabet, wrong_end};
use crate::codebook::Codebook;
use crate::error::{Error, Result};
use crate::platform::Avx512;
use crate::platform::avx512::{load, store};

/// Bytes at odd places, as the mask of a vector.
const ODD: __mmask64 = 0xaaaa_aaaa_aaaa_aaaa;
/// All lanes.
const ALL: __mmask64 = !0;
/// `vpternlogd`: `a & b | c`.
const A_AND_B_OR_C: i32 = 0xea;
/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

/// See [`super::encode`], which checked its arguments.
pub(super) fn encode(
    _proof: Avx512,
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    if book.lengths().alphabet().slots() <= 64 {
        // SAFETY: the proof says that the processor has the instructions.
        unsafe { encode_with::<false>(book, slots, states, stream) }
    } else {
        // SAFETY: as above.
        unsafe { encode_with::<true>(book, slots, states, stream) }
    }
}

/// See [`super::decode`], which checked its arguments.
pub(super) fn decode(
    _proof: Avx512,
    book: &Codebook,
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let Ok(table) = <&[u32; 256]>::try_from(book.decode_table()) else {
        return Err(Error::codebook("a codebook of the other code limit"));
    };
    // Codes are sorted by length: if this one has at most 6 bits, so have all below it.
    if table[0xbf] >> 8 <= 1 << 6 {
        // SAFETY: the proof says that the processor has the instructions.
        unsafe { decode_with::<false>(table, states, stream, slots) }
    } else {
        // SAFETY: as above.
        unsafe { decode_with::<true>(table, states, stream, slots) }
    }
}

/// The bytes of a table of 64 or (`WIDE`) 256 entries at the places in `index`, of which the lower six
/// or all bits count.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn look_up<const WIDE: bool>(table: &[__m512i; 4], index: __m512i) -> __m512i {
    if WIDE {
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

/// 63, 62, ..., 0.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn descending() -> __m512i {
    load(&std::array::from_fn(|i| (63 - i) as u8))
}

/// All lanes of the encoder. Byte `i` of a vector of bytes stands for lane `63 - i`; word `j` of `even`
/// and `odd` for the lanes of bytes `2j` and `2j + 1`.
struct EncoderLanes {
    even: __m512i,
    odd: __m512i,
    /// Bits above 8, and in even bytes 8 more: what an even window has to be rotated by to bring the
    /// byte that is due to the lower half.
    bits: __m512i,
    /// Bytes in the stream.
    end: usize,
}

impl EncoderLanes {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Self { even: zero, odd: zero, bits: _mm512_set1_epi16(0x0008), end: 0 }
    }

    /// One step: the codes of the active lanes.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn step(
        &mut self,
        codes: __m512i,
        lengths: __m512i,
        active: __mmask64,
        stream: &mut [u8],
    ) -> Result<()> {
        let available = stream.len();
        let room = stream.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut);
        let room = room.ok_or_else(|| no_room(self.end + LANES, available))?;
        let lengths = _mm512_maskz_mov_epi8(active, lengths);
        let sum = _mm512_add_epi8(self.bits, lengths);
        let emit = _mm512_test_epi8_mask(sum, _mm512_set1_epi16(0x0810));
        let odd_bits = _mm512_srli_epi16::<8>(self.bits);
        let due = _mm512_mask_blend_epi8(
            ODD,
            _mm512_shldv_epi16(self.even, self.even, self.bits),
            _mm512_shldv_epi16(self.odd, self.odd, odd_bits),
        );
        store(room, _mm512_maskz_compress_epi8(emit, due));
        self.end += emit.count_ones() as usize;
        self.even = _mm512_shrdv_epi16(self.even, codes, lengths);
        let (codes, lengths) = (_mm512_srli_epi16::<8>(codes), _mm512_srli_epi16::<8>(lengths));
        self.odd = _mm512_shrdv_epi16(self.odd, codes, lengths);
        let (low, bias) = (_mm512_set1_epi8(7), _mm512_set1_epi16(0x0008));
        self.bits = _mm512_ternarylogic_epi32::<A_AND_B_OR_C>(sum, low, bias);
        Ok(())
    }

    /// Writes the lane states.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(&self, states: &mut [u8]) {
        let (mut even, mut odd, mut bits) = ([0; 64], [0; 64], [0; 64]);
        store(&mut even, self.even);
        store(&mut odd, self.odd);
        store(&mut bits, self.bits);
        let windows = even.as_chunks::<2>().0.iter().zip(odd.as_chunks::<2>().0);
        let windows = windows.zip(bits.as_chunks::<2>().0);
        let states = states.as_chunks_mut::<4>().0.iter_mut().rev();
        for (state, ((even, odd), [even_bits, odd_bits])) in states.zip(windows) {
            // From n bits on top to n bits at the bottom and a sentinel above them.
            let state_of = |window: &[u8; 2], bits: u8| {
                u32::from(u16::from_le_bytes(*window)) >> (8 - bits) | 1 << (8 + bits)
            };
            let pair = state_of(odd, *odd_bits) | state_of(even, even_bits & 7) << 16;
            *state = pair.to_le_bytes();
        }
    }
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn encode_with<const WIDE: bool>(
    book: &Codebook,
    slots: &[u8],
    states: &mut [u8],
    stream: &mut [u8],
) -> Result<usize> {
    let codes = load_table(&book.encode_table().map(|entry| entry as u8));
    let lengths = load_table(&book.encode_table().map(|entry| (entry >> 12) as u8));
    let reverse = descending();
    let mut lanes = EncoderLanes::new();
    let mut highest = _mm512_setzero_si512();
    let (whole, partial) = slots.as_chunks::<LANES>();
    if !partial.is_empty() {
        let mut padded = [0; LANES];
        padded[..partial.len()].copy_from_slice(partial);
        let slots = load(&padded);
        highest = _mm512_max_epu8(highest, slots);
        let slots = _mm512_permutexvar_epi8(reverse, slots);
        let (codes, lengths) = (look_up::<WIDE>(&codes, slots), look_up::<WIDE>(&lengths, slots));
        lanes.step(codes, lengths, ALL << (LANES - partial.len()), stream)?;
    }
    for slots in whole.iter().rev() {
        let slots = load(slots);
        highest = _mm512_max_epu8(highest, slots);
        let slots = _mm512_permutexvar_epi8(reverse, slots);
        let (codes, lengths) = (look_up::<WIDE>(&codes, slots), look_up::<WIDE>(&lengths, slots));
        lanes.step(codes, lengths, ALL, stream)?;
    }
    let last = _mm512_set1_epi8((book.lengths().alphabet().slots() - 1) as i8);
    if _mm512_cmpgt_epu8_mask(highest, last) != 0 {
        return Err(outside_alphabet());
    }
    lanes.finish(states);
    Ok(lanes.end)
}

/// The tables of a decoder by the next 8 bits of a window.
struct DecodeTables {
    slots: [__m512i; 4],
    lengths: [__m512i; 4],
}

impl DecodeTables {
    /// Four quarters, or (not `WIDE`) a table by the upper six bits of a window, and one, by the lower
    /// six bits of windows from 0xc0 on, with what has to be added. It adds nothing at 0xc0 itself, so
    /// that is where smaller windows are sent: no comparison, no mask to wait for.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new<const WIDE: bool>(table: &[u32; 256]) -> Self {
        let mut slots = table.map(|entry| entry as u8);
        // The exponent of a power of two, by a conversion that the compiler can make vectors of.
        let mut lengths = table.map(|entry| (((entry >> 8) as f32).to_bits() >> 23) as u8 - 127);
        if !WIDE {
            let narrow = |table: &[u8; 256]| {
                std::array::from_fn(|i| match i {
                    0..64 => table[4 * i],
                    64..128 => table[192 + (i - 64)].wrapping_sub(table[192 + (i - 64) / 4 * 4]),
                    _ => 0,
                })
            };
            (slots, lengths) = (narrow(&slots), narrow(&lengths));
        }
        Self { slots: load_table(&slots), lengths: load_table(&lengths) }
    }

    /// Slots and lengths of the codes that windows begin with.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn look_up<const WIDE: bool>(&self, windows: __m512i) -> (__m512i, __m512i) {
        if WIDE {
            (look_up::<true>(&self.slots, windows), look_up::<true>(&self.lengths, windows))
        } else {
            let upper_six = _mm512_srli_epi16::<2>(windows);
            let beyond = _mm512_max_epu8(windows, _mm512_set1_epi8(0xc0_u8 as i8));
            let look_up = |table: &[__m512i; 4]| {
                let entry = _mm512_permutexvar_epi8(upper_six, table[0]);
                _mm512_add_epi8(entry, _mm512_permutexvar_epi8(beyond, table[1]))
            };
            (look_up(&self.slots), look_up(&self.lengths))
        }
    }
}

/// All lanes of a decoder; byte `i` of a vector stands for lane `i`.
struct DecoderLanes<'a> {
    /// Low and high bytes of the windows.
    low: __m512i,
    high: __m512i,
    /// Bits above 8, and 0, 0, 16, 16, 32, 32, 48, 48 and so on: where the next 8 bits begin in
    /// the 64 bits that hold a lane and its neighbours but one.
    bits: __m512i,
    /// The next words, first one first.
    words: __m512i,
    stream: &'a [u8],
}

impl<'a> DecoderLanes<'a> {
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn new(states: &[u8; 2 * LANES], stream: &'a [u8]) -> Result<Self> {
        let (halves, _) = states.as_chunks::<64>();
        let (first, second) = (load(&halves[0]), load(&halves[1]));
        let evens = load(&std::array::from_fn(|i| 2 * i as u8));
        let odds = load(&std::array::from_fn(|i| 2 * i as u8 + 1));
        let low = _mm512_permutex2var_epi8(first, evens, second);
        let high = _mm512_permutex2var_epi8(first, odds, second);
        let without = _mm512_testn_epi8_mask(high, high);
        if without != 0 {
            return Err(no_sentinel(2 * without.trailing_zeros() as usize));
        }
        // The sentinel is the top bit of the high byte: its place is the number of bits above 8.
        let mut bits = starts();
        for place in 1..8 {
            let beyond = _mm512_cmpge_epu8_mask(high, _mm512_set1_epi8((1 << place) as u8 as i8));
            bits = _mm512_mask_add_epi8(bits, beyond, bits, _mm512_set1_epi8(1));
        }
        Ok(Self { low, high, bits, words: next_words(stream), stream })
    }

    /// One step of the active lanes: their slots, and the number of words taken, for
    /// [`DecoderLanes::advance`].
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn step<const WIDE: bool>(
        &mut self,
        tables: &DecodeTables,
        active: __mmask64,
    ) -> (__m512i, usize) {
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
        let (slots, lengths) = tables.look_up::<WIDE>(windows);
        let left = _mm512_sub_epi8(self.bits, _mm512_maskz_mov_epi8(active, lengths));
        // A borrow shows in bit 3.
        let need = _mm512_test_epi8_mask(left, _mm512_set1_epi8(8));
        self.high = _mm512_mask_mov_epi8(self.high, need, self.low);
        self.low = _mm512_mask_expand_epi8(self.low, need, self.words);
        self.bits = _mm512_ternarylogic_epi32::<A_AND_B_OR_C>(left, _mm512_set1_epi8(7), starts());
        (slots, need.count_ones() as usize)
    }

    /// Takes words off the stream.
    #[inline]
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn advance(&mut self, words: usize) -> Result<()> {
        if words > self.stream.len() {
            return Err(out_of_words());
        }
        self.stream = &self.stream[..self.stream.len() - words];
        self.words = next_words(self.stream);
        Ok(())
    }

    /// Whether the lanes ended where every encoder begins.
    #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
    fn finish(&self) -> Result<()> {
        let bits = _mm512_xor_si512(self.bits, starts());
        let left = _mm512_or_si512(self.low, bits);
        if self.stream.is_empty() && _mm512_test_epi8_mask(left, left) == 0 {
            Ok(())
        } else {
            Err(wrong_end())
        }
    }
}

/// Where the 16 bits of each lane begin in the 64 bits around them.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn starts() -> __m512i {
    _mm512_set1_epi64(0x3030_2020_1010_0000)
}

/// The last 64 bytes of a stream in reverse order; what lies before its start is undefined.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn next_words(stream: &[u8]) -> __m512i {
    match stream.last_chunk() {
        Some(words) => _mm512_permutexvar_epi8(descending(), load(words)),
        None => few_words(stream),
    }
}

/// The same for a stream of fewer than 64 bytes.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn few_words(stream: &[u8]) -> __m512i {
    let mut words = [0; 64];
    words[64 - stream.len()..].copy_from_slice(stream);
    _mm512_permutexvar_epi8(descending(), load(&words))
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn decode_with<const WIDE: bool>(
    table: &[u32; 256],
    states: &[u8],
    stream: &[u8],
    slots: &mut [u8],
) -> Result<()> {
    let tables = DecodeTables::new::<WIDE>(table);
    let states = states.first_chunk().ok_or_else(out_of_words)?;
    let mut lanes = DecoderLanes::new(states, stream)?;
    let (whole, partial) = slots.as_chunks_mut::<LANES>();
    let mut whole = whole.iter_mut();
    // With two groups in the stream a step can neither run out of words nor leave less than a group:
    // a loop without a call or an error, which keeps everything in registers.
    while lanes.stream.len() >= 2 * LANES
        && let Some(place) = whole.next()
    {
        let (slots, words) = lanes.step::<WIDE>(&tables, ALL);
        store(place, slots);
        lanes.advance(words)?;
    }
    for place in whole {
        let (slots, words) = lanes.step::<WIDE>(&tables, ALL);
        store(place, slots);
        lanes.advance(words)?;
    }
    if !partial.is_empty() {
        let (slots, words) = lanes.step::<WIDE>(&tables, !(ALL << partial.len()));
        let mut padded = [0; LANES];
        store(&mut padded, slots);
        partial.copy_from_slice(&padded[..partial.len()]);
        lanes.advance(words)?;
    }
    lanes.finish()
}
