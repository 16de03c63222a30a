//! The lane coder for AVX-512 with VBMI2: codes of at most 12 bits.
//!
//! # Bits of a lane
//!
//! As for [8-bit codes](super::bits8) only `d = n - 16` is kept, here 0 to 15, in a byte: `d ± len` is the new
//! one in its lower four bits, and tells in the fifth whether a word moves. A lane is 32 bits in two
//! halves, 16-bit words each: one register for lanes 0 to 31, one for 32 to 63. Whatever is looked up is looked
//! up in bytes, 64 at a time: lane `j` is byte `2j`, lane `32 + j` byte `2j + 1`, so that bytes become
//! words by shifts and bitwise selections; one permutation turns that into the order of lanes.
//!
//! # Encoder
//!
//! A *window* holds `d` bits on top, 16 more, the *lookahead*, lie below. A funnel shift to the right by `len` lets the code
//! into the window from above; the word that becomes the lookahead, when the one that was there is
//! emitted, is the code with the window's bits below, which another funnel shift puts together. Both use only the
//! bits of codes and counts that matter, so what lies above may be garbage. Two "compress" write the words of
//! a step.
//!
//! # Decoder
//!
//! A window holds `d` bits at the bottom, used ones above, and 16 more are the lookahead: a funnel shift by `d` gives the
//! 16 bits that are next. To take a word is to move the lookahead to the window, and to "expand" the word to the
//! lookahead. With 16 bits of lookahead and codes of up to 12 bits the word may be looked at in the very
//! next step. A step must count the words that it takes before it can load them, and the next step waits for that. This
//! is why two planes side by side take little longer than one.
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
//!   its slot the entry of a table of 256 at this rank. No other instruction waits for this look-up.
//! * If all codes of over 6 bits lie in the last two buckets, and there are at most 64 codes, as exponents have
//!   them, the rank is looked up instead: by bucket, plus a correction by the window's place in
//!   the last two, 0 for all windows before. Length and slot follow from the rank by one `vpermb` each.
//!
//! The encoder looks up codes and lengths by symbol: with `vpermb` if all symbols that have a code of their own lie within
//! 63, else in tables of 256, where lengths share bytes with the codes' upper halves.

mod decode;
mod encode;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

use core::arch::x86_64::*;

use crate::kernels::avx512::isa::{load, store};
use crate::kernels::lanes::LANES;

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
fn by_place() -> __m512i {
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
