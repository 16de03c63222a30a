//! The lane coder for AVX-512 with VBMI2: codes of at most 8 bits, all 64 lanes in a few registers.
//!
//! # Bits of a lane
//!
//! A lane has `n` unread bits, 16 to 23. Only `d = n - 16` is kept, which takes few instructions: to add or drop a code
//! of `len` bits is `d ± len`. Bit 3 of the result tells whether a byte moves, and its low three bits are the new `d`
//! in either case.
//!
//! A lane is a *window* of 8 to 15 bits and a byte of *lookahead* below it. The windows of 64 lanes are 16-bit
//! words in two registers, one for the lanes at even bytes of a 64-byte
//! vector, one for those at odd bytes. So bytes become words by shifts and bitwise
//! selections, not by the shuffles that keep port 5 of Intel's processors busy.
//!
//! # Encoder
//!
//! A window holds its bits on top, the next to be read at the low end of them. A funnel shift to the
//! right by `len` lets the code in from above and drops at the bottom what became the lookahead: code and
//! count may carry garbage in their upper bits, since the funnel shift uses only the lower ones. The
//! byte that becomes the lookahead lies `d` bits below the top; the one that was there is emitted: "compress"
//! writes the words of a step in the order of lanes, as the format has them.
//!
//! # Decoder
//!
//! A window holds its bits at the bottom, and above them bits that were used already: dropping a code
//! changes nothing but `d`. To take a byte is to move all up by a byte, which planes of high, low and
//! lookahead bytes do under a mask; the lookahead gets its byte by "expand". "Multishift" takes
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
//! Words are interleaved by shifts and selections. The signs of 64 bytes are one mask, which lies in memory as packed signs
//! do.

mod decode;
mod encode;
mod sink;
mod stores;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

use core::arch::x86_64::*;

use crate::kernels::avx512::isa::load;
use crate::kernels::lanes::Join;

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

/// What [`Encoder::push_steps`] is given, or [`Decoder::pull_steps`] has to make, as a constant for the compiler.
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
