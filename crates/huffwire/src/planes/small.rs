//! 8- and 6-bit floats: the magnitude as a symbol and the sign beside it, or the whole value.
//!
//! Exponent and mantissa of so few bits are far from independent, so they stay together; the sign
//! is a fair coin for most tensors. Where it is not (all values positive, many zeros) the whole value
//! as a symbol is cheaper.

use super::{Layout, Plane, Scheme, bytes};
use crate::kernels::lanes::Join;

pub(super) const EIGHT_BITS: &[Scheme] = &[
    Scheme {
        layout: Layout::Magnitude,
        planes: &[Plane::symbols(7, 1), Plane::remainder(1, 1)],
        join: Some(Join::Signs { width: 7 }),
        split: |platform, bytes, planes| platform.run(|| split_signs(bytes, 7, planes)),
        merge: |platform, planes, bytes| platform.run(|| merge_signs(planes, 7, bytes)),
    },
    bytes::BYTES,
];

pub(super) const SIX_BITS: &[Scheme] = &[
    Scheme {
        layout: Layout::Magnitude,
        planes: &[Plane::symbols(5, 1), Plane::remainder(1, 1)],
        join: Some(Join::Signs { width: 5 }),
        split: |platform, bytes, planes| {
            platform.run(|| fits_six_bits(bytes) && split_signs(bytes, 5, planes))
        },
        merge: |platform, planes, bytes| platform.run(|| merge_signs(planes, 5, bytes)),
    },
    Scheme {
        layout: Layout::Values,
        planes: &[Plane::symbols(6, 1)],
        join: None,
        split: |_, bytes, planes| fits_six_bits(bytes) && copy_to(bytes, planes),
        merge: |_, planes, bytes| bytes.copy_from_slice(planes[0]),
    },
    bytes::BYTES,
];

pub(super) const SIX_BITS_PACKED: &[Scheme] = &[
    Scheme {
        layout: Layout::Magnitude,
        planes: &[Plane::symbols(5, 4), Plane::remainder(1, 4)],
        join: None,
        split: |_, bytes, planes| {
            let [magnitudes, signs] = planes else {
                return false;
            };
            let values = magnitudes.as_chunks_mut::<4>().0.iter_mut();
            let signs = signs.as_chunks_mut::<4>().0;
            for ((packed, magnitudes), signs) in bytes.as_chunks().0.iter().zip(values).zip(signs) {
                let values = unpack(packed);
                *magnitudes = values.map(|value| value & 0x1f);
                *signs = values.map(|value| value >> 5);
            }
            true
        },
        merge: |_, planes, bytes| {
            let [magnitudes, signs] = planes else { return };
            let packed = bytes.as_chunks_mut().0.iter_mut();
            let magnitudes = magnitudes.as_chunks::<4>().0;
            let signs = signs.as_chunks::<4>().0;
            for ((packed, magnitudes), signs) in packed.zip(magnitudes).zip(signs) {
                *packed = pack(&std::array::from_fn(|i| signs[i] << 5 | magnitudes[i]));
            }
        },
    },
    Scheme {
        layout: Layout::Values,
        planes: &[Plane::symbols(6, 4)],
        join: None,
        split: |_, bytes, planes| {
            let values = planes[0].as_chunks_mut().0;
            for (packed, values) in bytes.as_chunks().0.iter().zip(values) {
                *values = unpack(packed);
            }
            true
        },
        merge: |_, planes, bytes| {
            let values = planes[0].as_chunks().0;
            for (packed, values) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *packed = pack(values);
            }
        },
    },
    bytes::TRIPLES,
];

#[inline(always)]
fn split_signs(bytes: &[u8], sign_at: u32, planes: &mut [&mut [u8]]) -> bool {
    let [magnitudes, signs] = planes else {
        return false;
    };
    for ((&byte, magnitude), sign) in bytes.iter().zip(magnitudes.iter_mut()).zip(signs.iter_mut())
    {
        *magnitude = byte & ((1 << sign_at) - 1);
        *sign = byte >> sign_at;
    }
    true
}

#[inline(always)]
fn merge_signs(planes: &[&[u8]], sign_at: u32, bytes: &mut [u8]) {
    let [magnitudes, signs] = planes else { return };
    for ((byte, &magnitude), &sign) in bytes.iter_mut().zip(*magnitudes).zip(*signs) {
        *byte = sign << sign_at | magnitude;
    }
}

#[inline(always)]
fn fits_six_bits(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) < 0x40
}

fn copy_to(bytes: &[u8], planes: &mut [&mut [u8]]) -> bool {
    planes[0].copy_from_slice(bytes);
    true
}

/// Four 6-bit values from 24 little-endian bits.
fn unpack(packed: &[u8; 3]) -> [u8; 4] {
    let bits = u32::from_le_bytes([packed[0], packed[1], packed[2], 0]);
    [0, 6, 12, 18].map(|shift| (bits >> shift & 0x3f) as u8)
}

fn pack(values: &[u8; 4]) -> [u8; 3] {
    let shifted = |i: usize| u32::from(values[i]) << (6 * i);
    let [a, b, c, _] = (shifted(0) | shifted(1) | shifted(2) | shifted(3)).to_le_bytes();
    [a, b, c]
}
