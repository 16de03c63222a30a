//! bfloat16: an exponent byte, and a byte of mantissa and sign.

use super::{Layout, Plane, Scheme, bytes, sign_apart};
use crate::kernels::interleave;
use crate::kernels::lanes::Join;

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[Plane::exponents(), Plane::remainder(8, 1)],
        join: Some(Join::High),
        split: |platform, bytes, planes| {
            let [exponents, remainder] = planes else { return false };
            interleave::split16(platform, bytes, remainder, exponents);
            true
        },
        merge: |platform, planes, bytes| {
            let [exponents, remainder] = planes else { return };
            interleave::merge16(platform, remainder, exponents, bytes);
        },
    },
    sign_apart::BF16,
    bytes::PAIRS,
    bytes::POSITIONS_OF_2,
];
