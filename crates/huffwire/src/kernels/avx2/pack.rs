//! Packing kernels for AVX2: neighbours are brought together by multiplying and adding, and taken apart by shifts;
//! groups of eight symbols move by byte shuffles. (`pext` and `pdep` do all of that to eight symbols, but take hundreds
//! of cycles on processors by AMD before Zen 3.)
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, load_half, store, store_half};
use crate::kernels::portable::pack as portable;

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn pack(width: u8, symbols: &[u8], out: &mut [u8]) {
    portable::with_constant_width!(width, pack_width(symbols, out));
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn unpack(width: u8, packed: &[u8], symbols: &mut [u8]) {
    portable::with_constant_width!(width, unpack_width(packed, symbols));
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn pack_width<const W: usize>(symbols: &[u8], out: &mut [u8]) {
    let vectors = symbols.as_chunks::<32>().0;
    let done = if W == 1 { pack_bits_steps(vectors, out) } else { pack_steps::<W>(vectors, out) };
    portable::pack_groups::<W>(&symbols[32 * done..], &mut out[4 * W * done..]);
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn unpack_width<const W: usize>(packed: &[u8], symbols: &mut [u8]) {
    let vectors = symbols.as_chunks_mut::<32>().0;
    let done = if W == 1 {
        unpack_bits_steps(packed, vectors)
    } else {
        unpack_steps::<W>(packed, vectors)
    };
    portable::unpack_groups::<W>(&packed[4 * W * done..], &mut symbols[32 * done..]);
}

/// Where sixteen bytes may be touched for each two groups. Returns the number of vectors packed.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn pack_steps<const W: usize>(vectors: &[[u8; 32]], out: &mut [u8]) -> usize {
    // Symbols have at most 7 bits here, so that signed products are as good as others.
    let to_pairs = _mm256_set1_epi16(1 | 1 << (8 + W));
    let to_fours = _mm256_set1_epi32(1 | 1 << (16 + 2 * W));
    let to_eights = _mm_cvtsi64_si128(32 - 4 * W as i64);
    let lower = _mm256_set1_epi64x((1 << (4 * W)) - 1);
    let order = load(&std::array::from_fn(|i| match i % 16 {
        place if place < 2 * W => (place / W * 8 + place % W) as u8,
        _ => 0x80,
    }));
    for (step, vector) in vectors.iter().enumerate() {
        let Some(places) = out.get_mut(4 * W * step..) else { return step };
        let pairs = _mm256_maddubs_epi16(to_pairs, load(vector));
        let fours = _mm256_madd_epi16(pairs, to_fours);
        let upper = _mm256_srl_epi64(fours, to_eights);
        let eights =
            _mm256_or_si256(_mm256_and_si256(fours, lower), _mm256_andnot_si256(lower, upper));
        let packed = _mm256_shuffle_epi8(eights, order);
        let Some(places) = places.get_mut(..2 * W + 16) else { return step };
        if let Some(place) = places.first_chunk_mut() {
            store_half(place, _mm256_castsi256_si128(packed));
        }
        if let Some(place) = places[2 * W..].first_chunk_mut() {
            store_half(place, _mm256_extracti128_si256::<1>(packed));
        }
    }
    vectors.len()
}

/// Where sixteen bytes may be read for each two groups. Returns the number of vectors unpacked.
///
/// A symbol lies within two bytes. Byte shuffles make a word of them, a product moves the symbol to its top.
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn unpack_steps<const W: usize>(packed: &[u8], vectors: &mut [[u8; 32]]) -> usize {
    // Sixteen symbols are two groups: one for each of the two vectors of words.
    let order = |group: usize| {
        load(&std::array::from_fn(|i| {
            let byte = i % 16 / 2 * W / 8 + i % 2;
            if byte < W { (group * W + byte) as u8 } else { 0x80 }
        }))
    };
    let (first_order, second_order) = (order(0), order(1));
    let factors = load(&std::array::from_fn(|i| {
        let to_top = 16 - W - i % 16 / 2 * W % 8;
        ((1u16 << to_top) >> (i % 2 * 8)) as u8
    }));
    let down = _mm_cvtsi64_si128(16 - W as i64);
    for (step, vector) in vectors.iter_mut().enumerate() {
        let Some(bytes) = packed.get(4 * W * step..) else { return step };
        let Some(bytes) = bytes.get(..2 * W + 16) else { return step };
        let (Some(first), Some(second)) = (bytes.first_chunk(), bytes[2 * W..].first_chunk())
        else {
            return step;
        };
        let groups = _mm256_set_m128i(load_half(second), load_half(first));
        let first = _mm256_mullo_epi16(_mm256_shuffle_epi8(groups, first_order), factors);
        let second = _mm256_mullo_epi16(_mm256_shuffle_epi8(groups, second_order), factors);
        let (first, second) = (_mm256_srl_epi16(first, down), _mm256_srl_epi16(second, down));
        store(vector, _mm256_packus_epi16(first, second));
    }
    vectors.len()
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn pack_bits_steps(vectors: &[[u8; 32]], out: &mut [u8]) -> usize {
    for (word, vector) in out.as_chunks_mut().0.iter_mut().zip(vectors) {
        let bits = _mm256_slli_epi16::<7>(load(vector));
        *word = _mm256_movemask_epi8(bits).to_le_bytes();
    }
    vectors.len()
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn unpack_bits_steps(packed: &[u8], vectors: &mut [[u8; 32]]) -> usize {
    let byte_of = load(&std::array::from_fn(|i| i as u8 / 8));
    let bit_of = load(&std::array::from_fn(|i| 1 << (i % 8)));
    for (vector, word) in vectors.iter_mut().zip(packed.as_chunks().0) {
        let words = _mm256_set1_epi32(i32::from_le_bytes(*word));
        let bits = _mm256_and_si256(_mm256_shuffle_epi8(words, byte_of), bit_of);
        store(vector, _mm256_min_epu8(bits, _mm256_set1_epi8(1)));
    }
    vectors.len()
}
