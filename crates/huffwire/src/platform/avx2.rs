//! AVX2: the proof that the processor has it, and moves between memory and vectors.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m256i, _mm_stream_si128, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_storeu_si256,
};

/// Proof that this processor has AVX2, BMI1, BMI2, LZCNT and POPCNT: all that came with Haswell and Zen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if this processor can give it.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        all.then_some(Self(()))
    }

    /// Runs a function as compiled for these instructions. What it calls has to be inlined
    /// (`#[inline(always)]`) to gain from it.
    #[inline(always)]
    pub(crate) fn run<R>(self, function: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn compiled<R>(function: impl FnOnce() -> R) -> R {
            function()
        }
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { compiled(function) }
    }
}

/// The vector of 32 bytes in memory.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes, and the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Puts a vector in memory.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn store(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: the exclusive reference covers the 32 bytes, and the instruction needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

/// Whether [`stream`] does anything about this memory: where it is allocated, it usually begins at a multiple of
/// 16, though not of 32.
pub(crate) fn streams_to(bytes: &[u8]) -> bool {
    bytes.as_ptr().cast::<[u128; 1]>().is_aligned()
}

/// Puts a vector in memory past the caches, if its place is a multiple of 16. A
/// [`Fence`](super::avx512::Fence) has to be dropped before another thread may look.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn stream(bytes: &mut [u8; 32], vector: __m256i) {
    if !streams_to(bytes) {
        return store(bytes, vector);
    }
    let halves = [_mm256_castsi256_si128(vector), _mm256_extracti128_si256::<1>(vector)];
    let (places, _) = bytes.as_chunks_mut::<16>();
    for (place, half) in places.iter_mut().zip(halves) {
        // SAFETY: the exclusive reference covers the 16 bytes, and they are aligned.
        unsafe { _mm_stream_si128(place.as_mut_ptr().cast(), half) }
    }
}
