//! NEON: the proof that the processor has it, and moves between memory and vectors.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

/// Proof that this processor has Advanced SIMD, and its lowest byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neon(());

impl Neon {
    /// The proof, if this processor can give it.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let all = cfg!(target_endian = "little") && std::arch::is_aarch64_feature_detected!("neon");
        all.then_some(Self(()))
    }
}

/// The vector of 16 bytes in memory.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference covers the 16 bytes, and the instruction needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// Puts a vector in memory.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(bytes: &mut [u8; 16], vector: uint8x16_t) {
    // SAFETY: the exclusive reference covers the 16 bytes, and the instruction needs no alignment.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), vector) }
}

/// The vector of 8 bytes in memory.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_half(bytes: &[u8; 8]) -> uint8x8_t {
    // SAFETY: the reference covers the 8 bytes, and the instruction needs no alignment.
    unsafe { vld1_u8(bytes.as_ptr()) }
}

/// Puts a vector of 8 bytes in memory.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_half(bytes: &mut [u8; 8], vector: uint8x8_t) {
    // SAFETY: the exclusive reference covers the 8 bytes, and the instruction needs no alignment.
    unsafe { vst1_u8(bytes.as_mut_ptr(), vector) }
}

/// The 64 bytes of a table.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_table(bytes: &[u8; 64]) -> uint8x16x4_t {
    let (quarters, _) = bytes.as_chunks::<16>();
    let [a, b, c, d] = [0, 1, 2, 3].map(
        #[inline(always)]
        |quarter: usize| quarters[quarter],
    );
    uint8x16x4_t(load(&a), load(&b), load(&c), load(&d))
}
