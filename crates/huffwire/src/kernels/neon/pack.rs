//! Packing kernels for NEON: neighbours are brought together by shifts, groups of eight symbols by `tbl`; symbols are
//! taken apart by `tbl` and shifts of each byte by a distance of its own.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::isa::{load, store};
use crate::kernels::portable::pack as portable;

#[target_feature(enable = "neon")]
pub(super) fn pack(width: u8, symbols: &[u8], out: &mut [u8]) {
    portable::with_constant_width!(width, pack_width(symbols, out));
}

#[target_feature(enable = "neon")]
pub(super) fn unpack(width: u8, packed: &[u8], symbols: &mut [u8]) {
    portable::with_constant_width!(width, unpack_width(packed, symbols));
}

#[inline]
#[target_feature(enable = "neon")]
fn pack_width<const W: usize>(symbols: &[u8], out: &mut [u8]) {
    let done = pack_steps::<W>(symbols.as_chunks::<16>().0, out);
    portable::pack_groups::<W>(&symbols[16 * done..], &mut out[2 * W * done..]);
}

#[inline]
#[target_feature(enable = "neon")]
fn unpack_width<const W: usize>(packed: &[u8], symbols: &mut [u8]) {
    let done = unpack_steps::<W>(packed, symbols.as_chunks_mut::<16>().0);
    portable::unpack_groups::<W>(&packed[2 * W * done..], &mut symbols[16 * done..]);
}

/// Where sixteen bytes may be touched for two groups. Returns the number of vectors packed.
#[inline(never)]
#[target_feature(enable = "neon")]
fn pack_steps<const W: usize>(vectors: &[[u8; 16]], out: &mut [u8]) -> usize {
    let to_pairs = vdupq_n_s16(W as i16 - 8);
    let to_fours = vdupq_n_s32(2 * W as i32 - 16);
    let to_eights = vdupq_n_s64(4 * W as i64 - 32);
    let order = load(&std::array::from_fn(|i| match i {
        place if place < 2 * W => (place / W * 8 + place % W) as u8,
        _ => 0xff,
    }));
    for (step, vector) in vectors.iter().enumerate() {
        let place = out.get_mut(2 * W * step..).and_then(<[u8]>::first_chunk_mut);
        let Some(place) = place else { return step };
        let symbols = vreinterpretq_u16_u8(load(vector));
        let pairs = vbslq_u16(vdupq_n_u16((1 << W) - 1), symbols, vshlq_u16(symbols, to_pairs));
        let pairs = vreinterpretq_u32_u16(pairs);
        let fours = vbslq_u32(vdupq_n_u32((1 << (2 * W)) - 1), pairs, vshlq_u32(pairs, to_fours));
        let fours = vreinterpretq_u64_u32(fours);
        let eights = vbslq_u64(vdupq_n_u64((1 << (4 * W)) - 1), fours, vshlq_u64(fours, to_eights));
        store(place, vqtbl1q_u8(vreinterpretq_u8_u64(eights), order));
    }
    vectors.len()
}

/// Where sixteen bytes may be read for two groups. Returns the number of vectors unpacked.
#[inline(never)]
#[target_feature(enable = "neon")]
fn unpack_steps<const W: usize>(packed: &[u8], vectors: &mut [[u8; 16]]) -> usize {
    // A symbol lies within two bytes.
    let first = load(&std::array::from_fn(|i| (i * W / 8) as u8));
    let second = load(&std::array::from_fn(|i| (i * W / 8 + 1) as u8));
    let down = load(&std::array::from_fn(|i| (i * W % 8) as u8));
    let down = vnegq_s8(vreinterpretq_s8_u8(down));
    let up = vaddq_s8(down, vdupq_n_s8(8));
    let kept = vdupq_n_u8(0xff >> (8 - W));
    for (step, vector) in vectors.iter_mut().enumerate() {
        let bytes = packed.get(2 * W * step..).and_then(<[u8]>::first_chunk);
        let Some(bytes) = bytes else { return step };
        let bytes = load(bytes);
        let lower = vshlq_u8(vqtbl1q_u8(bytes, first), down);
        let upper = vshlq_u8(vqtbl1q_u8(bytes, second), up);
        store(vector, vandq_u8(vorrq_u8(lower, upper), kept));
    }
    vectors.len()
}
