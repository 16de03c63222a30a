//! IEEE binary16: 5 exponent bits; the low mantissa byte; sign and the two top mantissa bits.

use super::{Layout, Plane, Scheme, bytes};

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[
            Plane { width: 5, ..Plane::exponents() },
            Plane::residue(8, 1),
            Plane::residue(3, 1),
        ],
        split: |platform, bytes, planes| platform.run(|| split(bytes, planes)),
        merge: |platform, planes, bytes| platform.run(|| merge(planes, bytes)),
    },
    bytes::PAIRS,
    bytes::POSITIONS_OF_2,
];

#[inline(always)]
fn split(bytes: &[u8], planes: &mut [Vec<u8>]) -> bool {
    let [exponents, low, high] = planes else {
        return false;
    };
    let values = bytes.as_chunks::<2>().0;
    for (((value, exponent), low), high) in values.iter().zip(exponents).zip(low).zip(high) {
        let value = u16::from_le_bytes(*value);
        *exponent = (value >> 10 & 0x1f) as u8;
        *low = value as u8;
        *high = (value >> 13 & 4 | value >> 8 & 3) as u8;
    }
    true
}

#[inline(always)]
fn merge(planes: &[Vec<u8>], bytes: &mut [u8]) {
    let [exponents, low, high] = planes else {
        return;
    };
    let values = bytes.as_chunks_mut::<2>().0;
    for (((value, &exponent), &low), &high) in values.iter_mut().zip(exponents).zip(low).zip(high) {
        let high = u16::from(high);
        let bits = (high & 4) << 13 | u16::from(exponent) << 10 | (high & 3) << 8 | u16::from(low);
        *value = bits.to_le_bytes();
    }
}
