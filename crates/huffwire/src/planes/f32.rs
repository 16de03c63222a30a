//! IEEE binary32: an exponent byte; three bytes of mantissa, the lowest with the sign in its lowest bit.

use super::{Layout, Plane, Scheme, bytes, sign_apart};
use crate::kernels::interleave;

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[
            Plane::exponents(),
            Plane::remainder(8, 1),
            Plane::remainder(8, 1),
            Plane::remainder(8, 1),
        ],
        join: None,
        split: |platform, bytes, planes| {
            let [exponents, low, middle, high] = planes else { return false };
            interleave::split32(platform, bytes, [low, middle, high, exponents]);
            true
        },
        merge: |platform, planes, bytes| {
            let &[exponents, low, middle, high] = planes else { return };
            interleave::merge32(platform, [low, middle, high, exponents], bytes);
        },
    },
    sign_apart::F32,
    bytes::QUADS,
    bytes::POSITIONS_OF_4,
];
