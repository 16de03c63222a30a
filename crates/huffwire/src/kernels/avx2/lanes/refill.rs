//! Refill for AVX2: giving bytes to the lanes that need them, and storing the bytes that lanes emit, eight lanes at a
//! time, by a table of 256 patterns. (`pdep` and `pext` would do without a table, but take hundreds of cycles on
//! processors by AMD before Zen 3, and are no faster elsewhere.)

use core::arch::x86_64::*;

use crate::kernels::lanes::LANES;
use crate::kernels::patterns::{LAST_APART, TOGETHER};

/// Puts the bytes of chosen lanes together in `room`; returns how many.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn put_together(bytes: &[u8; LANES], chosen: u64, room: &mut [u8; LANES]) -> usize {
    let mut at = 0;
    for eight in 0..8 {
        let chosen = (chosen >> (8 * eight)) as u8;
        let pattern = &TOGETHER[usize::from(chosen)];
        // SAFETY: a pattern has eight bytes, and `bytes` eight times as many. After at most seven groups `at` is at
        // most 56, so all that is stored lies in the 64 bytes of `room`.
        unsafe {
            let bytes = _mm_loadl_epi64(bytes.as_ptr().add(8 * eight).cast());
            let pattern = _mm_loadl_epi64(pattern.as_ptr().cast());
            let together = _mm_shuffle_epi8(bytes, pattern);
            _mm_storel_epi64(room.as_mut_ptr().add(at).cast(), together);
        }
        at += chosen.count_ones() as usize;
    }
    at
}

/// Gives the last bytes of `words[..before]` to the chosen of 32 lanes; the others get 0. `before` is at least 32,
/// and becomes what is left.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn refill_apart(words: &[u8; LANES], before: &mut usize, chosen: u32) -> __m256i {
    debug_assert!((LANES / 2..=LANES).contains(before));
    let mut eight = |chosen: u32| {
        let chosen = chosen & 0xff;
        let pattern = &LAST_APART[chosen as usize];
        // SAFETY: a pattern has eight bytes. `before` is 32 to 64 at first, and loses at most 24 before the last
        // of the four calls, so that what is loaded lies in the 64 bytes of `words`.
        let given = unsafe {
            let bytes = _mm_loadl_epi64(words.as_ptr().add(before.wrapping_sub(8)).cast());
            _mm_shuffle_epi8(bytes, _mm_loadl_epi64(pattern.as_ptr().cast()))
        };
        *before = before.wrapping_sub(chosen.count_ones() as usize);
        given
    };
    let [d, c, b, a] = [chosen >> 24, chosen >> 16, chosen >> 8, chosen].map(&mut eight);
    _mm256_set_m128i(_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(a, b))
}
