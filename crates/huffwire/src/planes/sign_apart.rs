//! Layout for floats whose signs never vary: exponents, the mantissa alone, and the sign in a plane of its own.
//!
//! Splitting goes by way of the ordinary bytes of [`crate::kernels::interleave`], which have the sign in the lowest bit
//! of the remainder. The sign is taken out, and the mantissa moves down by a bit. A block with different signs does not
//! fit; most such blocks are found out in their first group of units.

use super::{Layout, Plane, Scheme};
use crate::kernels::interleave;

/// Units whose signs are looked at before anything is split.
const GLANCE: usize = 64;

pub(super) const BF16: Scheme = Scheme {
    layout: Layout::SignApart,
    planes: &[Plane::exponents(), Plane::remainder(7, 1), Plane::remainder(1, 1)],
    join: None,
    split: |platform, bytes, planes| {
        let [exponents, mantissa, signs] = planes else { return false };
        if varies::<2>(bytes) {
            return false;
        }
        interleave::split16(platform, bytes, mantissa, exponents);
        let varying = platform.run(
            #[inline(always)]
            || {
                let varying = take_signs(mantissa, signs);
                mantissa.iter_mut().for_each(|low| *low >>= 1);
                varying
            },
        );
        !varying
    },
    merge: |platform, planes, bytes| {
        let &[exponents, mantissa, signs] = planes else { return };
        let mut low = [0; PIECE];
        for (index, words) in bytes.chunks_mut(2 * PIECE).enumerate() {
            let [exponents, mantissa, signs] = pieces([exponents, mantissa, signs], index);
            let low = &mut low[..exponents.len()];
            platform.run(
                #[inline(always)]
                || {
                    for ((low, &mantissa), &sign) in low.iter_mut().zip(mantissa).zip(signs) {
                        *low = mantissa << 1 | sign & 1;
                    }
                },
            );
            interleave::merge16(platform, low, exponents, words);
        }
    },
};

pub(super) const F16: Scheme = Scheme {
    layout: Layout::SignApart,
    planes: &[
        Plane { width: 5, ..Plane::exponents() },
        Plane::remainder(8, 1),
        Plane::remainder(2, 1),
        Plane::remainder(1, 1),
    ],
    join: None,
    split: |platform, bytes, planes| {
        let [exponents, low, high, signs] = planes else { return false };
        if varies::<2>(bytes) {
            return false;
        }
        interleave::split16(platform, bytes, low, exponents);
        let varying = platform.run(
            #[inline(always)]
            || {
                let varying = take_signs(low, signs);
                let upper = exponents.iter_mut().zip(low.iter_mut()).zip(high.iter_mut());
                for ((upper, low), high) in upper {
                    *low = *low >> 1 | *upper << 7;
                    *high = *upper >> 1 & 3;
                    *upper >>= 3;
                }
                varying
            },
        );
        !varying
    },
    merge: |platform, planes, bytes| {
        let &[exponents, low, high, signs] = planes else { return };
        let (mut lower, mut upper) = ([0; PIECE], [0; PIECE]);
        for (index, words) in bytes.chunks_mut(2 * PIECE).enumerate() {
            let [exponents, low, high, signs] = pieces([exponents, low, high, signs], index);
            let (lower, upper) = (&mut lower[..low.len()], &mut upper[..low.len()]);
            platform.run(
                #[inline(always)]
                || {
                    for ((lower, &low), &sign) in lower.iter_mut().zip(low).zip(signs) {
                        *lower = low << 1 | sign & 1;
                    }
                    let above = upper.iter_mut().zip(low).zip(high).zip(exponents);
                    for (((upper, &low), &high), &exponent) in above {
                        *upper = low >> 7 | (high & 3) << 1 | exponent << 3;
                    }
                },
            );
            interleave::merge16(platform, lower, upper, words);
        }
    },
};

pub(super) const F32: Scheme = Scheme {
    layout: Layout::SignApart,
    planes: &[
        Plane::exponents(),
        Plane::remainder(8, 1),
        Plane::remainder(8, 1),
        Plane::remainder(7, 1),
        Plane::remainder(1, 1),
    ],
    join: None,
    split: |platform, bytes, planes| {
        let [exponents, low, middle, high, signs] = planes else { return false };
        if varies::<4>(bytes) {
            return false;
        }
        interleave::split32(platform, bytes, [&mut *low, &mut *middle, &mut *high, exponents]);
        let varying = platform.run(
            #[inline(always)]
            || {
                let varying = take_signs(low, signs);
                let all = low.iter_mut().zip(middle.iter_mut()).zip(high.iter_mut());
                for ((low, middle), high) in all {
                    *low = *low >> 1 | *middle << 7;
                    *middle = *middle >> 1 | *high << 7;
                    *high >>= 1;
                }
                varying
            },
        );
        !varying
    },
    merge: |platform, planes, bytes| {
        let &[exponents, low, middle, high, signs] = planes else { return };
        let mut rotated = [[0; PIECE]; 3];
        for (index, words) in bytes.chunks_mut(4 * PIECE).enumerate() {
            let [exponents, low, middle, high, signs] =
                pieces([exponents, low, middle, high, signs], index);
            let [b0, b1, b2] = rotated.each_mut().map(|bytes| &mut bytes[..low.len()]);
            platform.run(
                #[inline(always)]
                || {
                    for ((b0, &low), &sign) in b0.iter_mut().zip(low).zip(signs) {
                        *b0 = low << 1 | sign & 1;
                    }
                    for ((b1, &low), &middle) in b1.iter_mut().zip(low).zip(middle) {
                        *b1 = low >> 7 | middle << 1;
                    }
                    for ((b2, &middle), &high) in b2.iter_mut().zip(middle).zip(high) {
                        *b2 = middle >> 7 | high << 1;
                    }
                },
            );
            interleave::merge32(platform, [b0, b1, b2, exponents], words);
        }
    },
};

/// Units that are merged at a time: their planes stay in the L1 cache. A multiple of 64.
const PIECE: usize = 2048;

/// The symbols of one piece.
fn pieces<const N: usize>(planes: [&[u8]; N], index: usize) -> [&[u8]; N] {
    planes.map(|plane| {
        let (from, to) = (index * PIECE, (index + 1) * PIECE);
        plane.get(from..to.min(plane.len())).unwrap_or_default()
    })
}

/// Whether signs vary among the first units of `B` bytes.
fn varies<const B: usize>(bytes: &[u8]) -> bool {
    let mut signs = bytes.as_chunks::<B>().0.iter().take(GLANCE).map(|unit| unit[B - 1] & 0x80);
    // Where they vary, the first few show it.
    signs.next().is_some_and(|first| signs.any(|sign| sign != first))
}

/// Copies the lowest bit of each byte; returns whether these bits vary.
#[inline(always)]
fn take_signs(rotated: &[u8], signs: &mut [u8]) -> bool {
    let (mut any, mut all) = (0, 1);
    for (sign, &rotated) in signs.iter_mut().zip(rotated) {
        *sign = rotated & 1;
        any |= *sign;
        all &= *sign;
    }
    any != all && !rotated.is_empty()
}
