//! bfloat16: an exponent byte, and a byte of sign and mantissa.

use super::{Layout, Plane, Scheme, bytes};

pub(super) const SCHEMES: &[Scheme] = &[
    Scheme {
        layout: Layout::Exponent,
        planes: &[Plane::exponents(), Plane::residue(8, 1)],
        split: |platform, bytes, planes| platform.run(|| split(bytes, planes)),
        merge: |platform, planes, bytes| platform.run(|| merge(planes, bytes)),
    },
    bytes::PAIRS,
    bytes::POSITIONS_OF_2,
];

#[inline(always)]
fn split(bytes: &[u8], planes: &mut [Vec<u8>]) -> bool {
    let [exponents, residue] = planes else {
        return false;
    };
    let values = bytes.as_chunks::<2>().0;
    for ((value, exponent), residue) in values.iter().zip(exponents).zip(residue) {
        let value = u16::from_le_bytes(*value);
        *exponent = (value >> 7) as u8;
        *residue = (value >> 8 & 0x80 | value & 0x7f) as u8;
    }
    true
}

#[inline(always)]
fn merge(planes: &[Vec<u8>], bytes: &mut [u8]) {
    let [exponents, residue] = planes else { return };
    let values = bytes.as_chunks_mut::<2>().0;
    for ((value, &exponent), &residue) in values.iter_mut().zip(exponents).zip(residue) {
        let residue = u16::from(residue);
        let bits = (residue & 0x80) << 8 | u16::from(exponent) << 7 | residue & 0x7f;
        *value = bits.to_le_bytes();
    }
}
