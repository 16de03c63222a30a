//! Packing kernels for AVX-512: neighbours are brought together by multiplying and adding, groups of eight symbols by
//! `vpermb`; symbols are taken apart by `vpmultishiftqb`.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::isa::{load, load_some, store, store_some};
use crate::kernels::portable::pack as portable;

/// `vpternlogd`: bits of `a` where `b` is set, of `c` elsewhere.
const A_IF_B_ELSE_C: i32 = 0xe2;

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn pack(width: u8, symbols: &[u8], out: &mut [u8]) {
    portable::with_constant_width!(width, pack_width(symbols, out));
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(super) fn unpack(width: u8, packed: &[u8], symbols: &mut [u8]) {
    portable::with_constant_width!(width, unpack_width(packed, symbols));
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn pack_width<const W: usize>(symbols: &[u8], out: &mut [u8]) {
    let (vectors, last) = symbols.as_chunks::<64>();
    let (out, last_out) = out.split_at_mut(8 * W * vectors.len());
    if W == 1 {
        pack_bits_steps(vectors, out);
    } else {
        pack_steps::<W>(vectors, out);
    }
    portable::pack_groups::<W>(last, last_out);
}

#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn unpack_width<const W: usize>(packed: &[u8], symbols: &mut [u8]) {
    let (vectors, last) = symbols.as_chunks_mut::<64>();
    let (packed, last_packed) = packed.split_at(8 * W * vectors.len());
    if W == 1 {
        unpack_bits_steps(packed, vectors);
    } else {
        unpack_steps::<W>(packed, vectors);
    }
    portable::unpack_groups::<W>(last_packed, last);
}

#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn pack_steps<const W: usize>(vectors: &[[u8; 64]], out: &mut [u8]) {
    // Symbols have at most 7 bits here, so that signed products are as good as others.
    let to_pairs = _mm512_set1_epi16(1 | 1 << (8 + W));
    let to_fours = _mm512_set1_epi32(1 | 1 << (16 + 2 * W));
    let to_eights = _mm_cvtsi64_si128(32 - 4 * W as i64);
    let lower = _mm512_set1_epi64((1 << (4 * W)) - 1);
    let order = std::array::from_fn(|i| if i < 8 * W { (i / W * 8 + i % W) as u8 } else { 0 });
    let order = load(&order);
    for (vector, out) in vectors.iter().zip(out.chunks_exact_mut(8 * W)) {
        let pairs = _mm512_maddubs_epi16(to_pairs, load(vector));
        let fours = _mm512_madd_epi16(pairs, to_fours);
        let upper = _mm512_srl_epi64(fours, to_eights);
        let eights = _mm512_ternarylogic_epi32::<A_IF_B_ELSE_C>(fours, lower, upper);
        store_some(out, _mm512_permutexvar_epi8(order, eights));
    }
}

#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn unpack_steps<const W: usize>(packed: &[u8], vectors: &mut [[u8; 64]]) {
    let order = load(&std::array::from_fn(|i| (i / 8 * W + (i % 8).min(W - 1)) as u8));
    let starts = load(&std::array::from_fn(|i| (i % 8 * W) as u8));
    let kept = _mm512_set1_epi8((0xff_u8 >> (8 - W)) as i8);
    for (vector, packed) in vectors.iter_mut().zip(packed.chunks_exact(8 * W)) {
        let groups = _mm512_permutexvar_epi8(order, load_some(packed));
        let symbols = _mm512_multishift_epi64_epi8(starts, groups);
        store(vector, _mm512_and_si512(symbols, kept));
    }
}

#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn pack_bits_steps(vectors: &[[u8; 64]], out: &mut [u8]) {
    for (word, vector) in out.as_chunks_mut().0.iter_mut().zip(vectors) {
        *word = _mm512_test_epi8_mask(load(vector), _mm512_set1_epi8(1)).to_le_bytes();
    }
}

#[inline(never)]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn unpack_bits_steps(packed: &[u8], vectors: &mut [[u8; 64]]) {
    for (vector, word) in vectors.iter_mut().zip(packed.as_chunks().0) {
        store(vector, _mm512_maskz_set1_epi8(u64::from_le_bytes(*word), 1));
    }
}
