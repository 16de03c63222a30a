//! Bytes as symbols: all of one alphabet, or one alphabet per byte position of the element.

use super::{Layout, Plane, Scheme};

/// Every byte is a symbol, `N` bytes a unit, as in Agrawal et al. (arXiv 2601.10673).
const fn bytes<const N: usize>() -> Scheme {
    Scheme {
        layout: Layout::Bytes,
        planes: const { &[Plane::symbols(8, N as u8)] },
        join: None,
        split: |_, bytes, planes| {
            planes[0].copy_from_slice(bytes);
            true
        },
        merge: |_, planes, bytes| bytes.copy_from_slice(planes[0]),
    }
}

/// A plane for each of the `N` byte positions, lowest address first.
const fn positions<const N: usize>() -> Scheme {
    Scheme {
        layout: Layout::Positions,
        planes: const { &[Plane::symbols(8, 1); N] },
        join: None,
        split: |platform, bytes, planes| {
            platform.run(|| split::<N>(bytes, planes));
            true
        },
        merge: |platform, planes, bytes| platform.run(|| merge::<N>(planes, bytes)),
    }
}

#[inline(always)]
fn split<const N: usize>(bytes: &[u8], planes: &mut [&mut [u8]]) {
    for (position, plane) in planes.iter_mut().enumerate().take(N) {
        for (unit, symbol) in bytes.as_chunks::<N>().0.iter().zip(plane.iter_mut()) {
            *symbol = unit[position];
        }
    }
}

#[inline(always)]
fn merge<const N: usize>(planes: &[&[u8]], bytes: &mut [u8]) {
    for (position, plane) in planes.iter().enumerate().take(N) {
        for (unit, &symbol) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(plane.iter()) {
            unit[position] = symbol;
        }
    }
}

pub(super) const BYTES: Scheme = bytes::<1>();
pub(super) const PAIRS: Scheme = bytes::<2>();
pub(super) const TRIPLES: Scheme = bytes::<3>();
pub(super) const QUADS: Scheme = bytes::<4>();
pub(super) const POSITIONS_OF_2: Scheme = positions::<2>();
pub(super) const POSITIONS_OF_4: Scheme = positions::<4>();

pub(super) const SINGLE: &[Scheme] = &[BYTES];
pub(super) const WORDS_OF_2: &[Scheme] = &[PAIRS, POSITIONS_OF_2];
pub(super) const WORDS_OF_4: &[Scheme] = &[QUADS, POSITIONS_OF_4];
pub(super) const WORDS_OF_8: &[Scheme] = &[bytes::<8>(), positions::<8>()];

/// e8m0: a scale is an exponent without sign and mantissa.
pub(super) const SCALES: &[Scheme] =
    &[Scheme { layout: Layout::Exponent, planes: &[Plane::exponents()], ..BYTES }, BYTES];
