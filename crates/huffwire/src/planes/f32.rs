//! IEEE binary32: an exponent byte; two low mantissa bytes; a byte of sign and top mantissa bits.

use super::{Layout, Plane, Scheme, bytes};

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[
            Plane::exponents(),
            Plane::residue(8, 1),
            Plane::residue(8, 1),
            Plane::residue(8, 1),
        ],
        split: |platform, bytes, planes| platform.run(|| split(bytes, planes)),
        merge: |platform, planes, bytes| platform.run(|| merge(planes, bytes)),
    },
    bytes::QUADS,
    bytes::POSITIONS_OF_4,
];

#[inline(always)]
fn split(bytes: &[u8], planes: &mut [Vec<u8>]) -> bool {
    let [exponents, low, middle, high] = planes else {
        return false;
    };
    let values = bytes.as_chunks::<4>().0;
    let planes = exponents.iter_mut().zip(low).zip(middle).zip(high);
    for (value, (((exponent, low), middle), high)) in values.iter().zip(planes) {
        let value = u32::from_le_bytes(*value);
        *exponent = (value >> 23) as u8;
        *low = value as u8;
        *middle = (value >> 8) as u8;
        *high = (value >> 24 & 0x80 | value >> 16 & 0x7f) as u8;
    }
    true
}

#[inline(always)]
fn merge(planes: &[Vec<u8>], bytes: &mut [u8]) {
    let [exponents, low, middle, high] = planes else {
        return;
    };
    let values = bytes.as_chunks_mut::<4>().0;
    let planes = exponents.iter().zip(low).zip(middle).zip(high);
    for (value, (((&exponent, &low), &middle), &high)) in values.iter_mut().zip(planes) {
        let high = u32::from(high);
        let bits = (high & 0x80) << 24
            | u32::from(exponent) << 23
            | (high & 0x7f) << 16
            | u32::from(middle) << 8
            | u32::from(low);
        *value = bits.to_le_bytes();
    }
}
