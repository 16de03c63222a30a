//! Interleaving kernels for NEON. The instruction `trn` replaces the shifts and selections of other platforms.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::isa::{load, store};

/// Rotates each 16-bit word to the left by one.
#[inline]
#[target_feature(enable = "neon")]
fn left16(bytes: uint8x16_t) -> uint8x16_t {
    let words = vreinterpretq_u16_u8(bytes);
    vreinterpretq_u8_u16(vsliq_n_u16::<1>(vshrq_n_u16::<15>(words), words))
}

#[inline]
#[target_feature(enable = "neon")]
fn right16(bytes: uint8x16_t) -> uint8x16_t {
    let words = vreinterpretq_u16_u8(bytes);
    vreinterpretq_u8_u16(vsriq_n_u16::<1>(vshlq_n_u16::<15>(words), words))
}

#[inline]
#[target_feature(enable = "neon")]
fn left32(bytes: uint8x16_t) -> uint8x16_t {
    let words = vreinterpretq_u32_u8(bytes);
    vreinterpretq_u8_u32(vsliq_n_u32::<1>(vshrq_n_u32::<31>(words), words))
}

#[inline]
#[target_feature(enable = "neon")]
fn right32(bytes: uint8x16_t) -> uint8x16_t {
    let words = vreinterpretq_u32_u8(bytes);
    vreinterpretq_u8_u32(vsriq_n_u32::<1>(vshlq_n_u32::<31>(words), words))
}

#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn split16_steps(words: &[u8], low: &mut [u8], high: &mut [u8]) {
    let words = words.as_chunks::<16>().0.as_chunks::<8>().0.iter();
    let low = low.as_chunks_mut::<16>().0.as_chunks_mut::<4>().0;
    let high = high.as_chunks_mut::<16>().0.as_chunks_mut::<4>().0;
    for ((words, low), high) in words.zip(low).zip(high) {
        for part in 0..4 {
            let (a, b) = (left16(load(&words[part])), left16(load(&words[4 + part])));
            store(&mut low[part], vtrn1q_u8(a, b));
            store(&mut high[part], vtrn2q_u8(a, b));
        }
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn merge16_steps(low: &[u8], high: &[u8], words: &mut [u8]) {
    let words = words.as_chunks_mut::<16>().0.as_chunks_mut::<8>().0.iter_mut();
    let low = low.as_chunks::<16>().0.as_chunks::<4>().0;
    let high = high.as_chunks::<16>().0.as_chunks::<4>().0;
    for ((words, low), high) in words.zip(low).zip(high) {
        for part in 0..4 {
            let (low, high) = (load(&low[part]), load(&high[part]));
            store(&mut words[part], right16(vtrn1q_u8(low, high)));
            store(&mut words[4 + part], right16(vtrn2q_u8(low, high)));
        }
    }
}

/// As in [the portable kernels](crate::kernels::portable::interleave), but on vectors.
#[inline]
#[target_feature(enable = "neon")]
fn transposed([a, b, c, d]: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
    let [a, b, c, d] = [
        vreinterpretq_u16_u8(a),
        vreinterpretq_u16_u8(b),
        vreinterpretq_u16_u8(c),
        vreinterpretq_u16_u8(d),
    ];
    let (ac, ac_high) = (vtrn1q_u16(a, c), vtrn2q_u16(a, c));
    let (bd, bd_high) = (vtrn1q_u16(b, d), vtrn2q_u16(b, d));
    let (ac, bd) = (vreinterpretq_u8_u16(ac), vreinterpretq_u8_u16(bd));
    let (ac_high, bd_high) = (vreinterpretq_u8_u16(ac_high), vreinterpretq_u8_u16(bd_high));
    [vtrn1q_u8(ac, bd), vtrn2q_u8(ac, bd), vtrn1q_u8(ac_high, bd_high), vtrn2q_u8(ac_high, bd_high)]
}

#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn split32_steps(words: &[u8], [b0, b1, b2, b3]: [&mut [u8]; 4]) {
    let words = words.as_chunks::<16>().0.as_chunks::<16>().0.iter();
    let (b0, b1) = (b0.as_chunks_mut::<16>().0, b1.as_chunks_mut::<16>().0);
    let (b2, b3) = (b2.as_chunks_mut::<16>().0, b3.as_chunks_mut::<16>().0);
    let (b0, b1) = (b0.as_chunks_mut::<4>().0, b1.as_chunks_mut::<4>().0);
    let (b2, b3) = (b2.as_chunks_mut::<4>().0, b3.as_chunks_mut::<4>().0);
    let places = b0.iter_mut().zip(b1).zip(b2).zip(b3);
    for (words, (((b0, b1), b2), b3)) in words.zip(places) {
        for part in 0..4 {
            let [bytes0, bytes1, bytes2, bytes3] = transposed([
                left32(load(&words[part])),
                left32(load(&words[4 + part])),
                left32(load(&words[8 + part])),
                left32(load(&words[12 + part])),
            ]);
            store(&mut b0[part], bytes0);
            store(&mut b1[part], bytes1);
            store(&mut b2[part], bytes2);
            store(&mut b3[part], bytes3);
        }
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn merge32_steps([b0, b1, b2, b3]: [&[u8]; 4], words: &mut [u8]) {
    let words = words.as_chunks_mut::<16>().0.as_chunks_mut::<16>().0.iter_mut();
    let (b0, b1) = (b0.as_chunks::<16>().0, b1.as_chunks::<16>().0);
    let (b2, b3) = (b2.as_chunks::<16>().0, b3.as_chunks::<16>().0);
    let (b0, b1) = (b0.as_chunks::<4>().0, b1.as_chunks::<4>().0);
    let (b2, b3) = (b2.as_chunks::<4>().0, b3.as_chunks::<4>().0);
    let places = b0.iter().zip(b1).zip(b2).zip(b3);
    for (words, (((b0, b1), b2), b3)) in words.zip(places) {
        for part in 0..4 {
            let [stack0, stack1, stack2, stack3] =
                transposed([load(&b0[part]), load(&b1[part]), load(&b2[part]), load(&b3[part])]);
            store(&mut words[part], right32(stack0));
            store(&mut words[4 + part], right32(stack1));
            store(&mut words[8 + part], right32(stack2));
            store(&mut words[12 + part], right32(stack3));
        }
    }
}
