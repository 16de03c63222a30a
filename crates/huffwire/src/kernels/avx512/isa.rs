//! AVX-512: the proof that the processor has it, and moves between memory and vectors.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256i, __m512i, _bzhi_u64, _mm256_storeu_si256, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_storeu_si512, _mm512_stream_si512,
};

pub(super) use super::super::avx2::isa::{Fence, fetch, fetch_all, fetch_to_write};
#[cfg(feature = "gradient")]
pub(super) use super::super::avx2::isa::{as_bytes, as_bytes_mut};

/// Proof that this processor has AVX-512 F, BW, VL, VBMI and VBMI2, BMI1 and BMI2, LZCNT and POPCNT.
///
/// VBMI2 is what makes the difference: one instruction gives a stream's bytes to the lanes of 64 that want one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if this processor can give it.
    #[must_use]
    pub fn detect() -> Option<Self> {
        // The first two come with the others, in every processor if not in every emulation.
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        all.then_some(Self(()))
    }

    /// Runs a function as compiled for these instructions. What it calls has to be inlined
    /// (`#[inline(always)]`) to gain from it.
    #[inline(always)]
    pub(super) fn compiled<R>(self, function: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
        fn inner<R>(function: impl FnOnce() -> R) -> R {
            function()
        }
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { inner(function) }
    }
}

/// The vector of 64 bytes in memory.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes, and the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// The first 64 bytes, or as many as there are and zeros after them.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn load_some(bytes: &[u8]) -> __m512i {
    let mask = _bzhi_u64(!0, bytes.len().min(64) as u32);
    // SAFETY: a masked load does not touch what its mask leaves out, and the mask has as many bits as
    // there are bytes.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
}

/// Puts a vector in memory.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: the exclusive reference covers the 64 bytes, and the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// The vector of sixteen pairs of numbers in memory.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn load_row(row: &[[i16; 2]; 16]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes, and the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

/// Puts a vector of sixteen numbers in memory.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn store_sums(sums: &mut [i32; 16], vector: __m512i) {
    // SAFETY: the exclusive reference covers the 64 bytes, and the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), vector) }
}

/// Puts a vector of eight numbers in memory.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn store_u32(numbers: &mut [u32; 8], vector: __m256i) {
    // SAFETY: the exclusive reference covers the 32 bytes, and the instruction needs no alignment.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), vector) }
}

/// Puts the first bytes of a vector in memory: 64, or as many as there is room for.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn store_some(bytes: &mut [u8], vector: __m512i) {
    let mask = _bzhi_u64(!0, bytes.len().min(64) as u32);
    // SAFETY: a masked store does not touch what its mask leaves out, and the mask has as many bits as
    // there are bytes.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, vector) }
}

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    /// The first bytes, at most 64.
    pub(crate) fn start(&mut self, count: usize) -> &mut [u8] {
        &mut self.0[..count.min(64)]
    }
}

/// The cache lines that lie in a slice as wholes, and what lies before and after them.
pub(crate) fn lines(bytes: &mut [u8]) -> (&mut [u8], &mut [Line], &mut [u8]) {
    // SAFETY: any bytes make a line.
    unsafe { bytes.align_to_mut() }
}

/// Puts a vector in memory past the caches, which keeps them for others, and saves reading what is going to be
/// overwritten. A [`Fence`] has to be dropped before another thread may look.
#[inline]
#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
pub(crate) fn stream(line: &mut Line, vector: __m512i) {
    // SAFETY: the exclusive reference covers the 64 bytes, and a line is aligned.
    unsafe { _mm512_stream_si512(line.0.as_mut_ptr().cast(), vector) }
}
