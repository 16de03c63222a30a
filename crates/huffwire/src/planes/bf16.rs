//! bfloat16: an exponent byte, and a byte of mantissa and sign.

use super::{Layout, Plane, Scheme, bytes};
use crate::kernels::interleave;
use crate::kernels::lanes::Join;

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[Plane::exponents(), Plane::remainder(8, 1)],
        join: Some(Join::High),
        split: |platform, bytes, planes| {
            let [exponents, residue] = planes else { return false };
            interleave::split16(platform, bytes, residue, exponents);
            true
        },
        merge: |platform, planes, bytes| {
            let [exponents, residue] = planes else { return };
            interleave::merge16(platform, residue, exponents, bytes);
        },
    },
    bytes::PAIRS,
    bytes::POSITIONS_OF_2,
];
