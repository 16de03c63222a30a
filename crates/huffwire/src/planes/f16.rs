//! IEEE binary16: 5 exponent bits; the lower mantissa bits and the sign; the three top mantissa bits.

use super::{Layout, Plane, Scheme, bytes, sign_apart};
use crate::kernels::interleave;
use crate::kernels::platform::Platform;

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[
            Plane { width: 5, ..Plane::exponents() },
            Plane::remainder(8, 1),
            Plane::remainder(3, 1),
        ],
        join: None,
        split,
        merge,
    },
    sign_apart::F16,
    bytes::PAIRS,
    bytes::POSITIONS_OF_2,
];

fn split(platform: Platform, bytes: &[u8], planes: &mut [&mut [u8]]) -> bool {
    let [exponents, low, high] = planes else { return false };
    interleave::split16(platform, bytes, low, exponents);
    platform.run(|| {
        for (exponent, high) in exponents.iter_mut().zip(high.iter_mut()) {
            (*exponent, *high) = (*exponent >> 3, *exponent & 7);
        }
    });
    true
}

fn merge(platform: Platform, planes: &[&[u8]], bytes: &mut [u8]) {
    let [exponents, low, high] = planes else { return };
    // The upper byte of each word takes form in pieces that stay in the L1 cache.
    let mut upper = [0; 2048];
    let pieces = bytes.chunks_mut(2 * upper.len()).zip(low.chunks(upper.len()));
    let parts = exponents.chunks(upper.len()).zip(high.chunks(upper.len()));
    for ((words, low), (exponents, high)) in pieces.zip(parts) {
        let upper = &mut upper[..low.len()];
        platform.run(|| {
            for ((upper, &exponent), &high) in upper.iter_mut().zip(exponents).zip(high) {
                *upper = exponent << 3 | high & 7;
            }
        });
        interleave::merge16(platform, low, upper, words);
    }
}
