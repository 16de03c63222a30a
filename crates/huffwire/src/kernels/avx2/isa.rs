//! AVX2: the proof that the processor has it, and moves between memory and vectors.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, __m256i, _MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch,
    _mm_sfence, _mm_storeu_si128, _mm_stream_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_storeu_si256,
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
    pub(super) fn compiled<R>(self, function: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn inner<R>(function: impl FnOnce() -> R) -> R {
            function()
        }
        // SAFETY: `self` is the proof that the processor has the instructions.
        unsafe { inner(function) }
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

/// The vector of 16 bytes in memory.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn load_half(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers the 16 bytes, and the instruction needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Puts a vector of 16 bytes in memory.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn store_half(bytes: &mut [u8; 16], vector: __m128i) {
    // SAFETY: the exclusive reference covers the 16 bytes, and the instruction needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}

/// Whether [`stream`] does anything about this memory: where it is allocated, it usually begins at a multiple of
/// 16, though not of 32.
pub(crate) fn streams_to(bytes: &[u8]) -> bool {
    bytes.as_ptr().cast::<[u128; 1]>().is_aligned()
}

/// Puts a vector in memory past the caches, if its place is a multiple of 16. A
/// [`Fence`] has to be dropped before another thread may look.
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

/// Orders the stores of [`stream`] before all later ones when it is dropped, hence on every way out: who decodes
/// damaged data goes on after an error, too.
#[must_use]
pub(crate) struct Fence(());

impl Fence {
    /// To be held while there are such stores.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl Drop for Fence {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(test)]
        FENCES.set(FENCES.get() + 1);
        // SAFETY: every x86-64 processor has it.
        unsafe { _mm_sfence() }
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread passed a fence: nothing else tells a test that one was not forgotten.
    pub(crate) static FENCES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Asks for the 128 bytes at a place beyond the start of a slice to be brought to the L2 cache.
#[inline(always)]
pub(crate) fn fetch(bytes: &[u8], at: usize) {
    let place: *const i8 = bytes.as_ptr().wrapping_add(at).cast();
    // SAFETY: a prefetch of any address whatever is allowed, and changes nothing but the caches.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(place);
        _mm_prefetch::<_MM_HINT_T1>(place.wrapping_add(64));
    }
}

/// Asks for all of some bytes to be brought to the L1 cache.
#[inline(always)]
pub(crate) fn fetch_all(bytes: &[u8]) {
    for at in (0..bytes.len()).step_by(64) {
        let place: *const i8 = bytes.as_ptr().wrapping_add(at).cast();
        // SAFETY: a prefetch of any address whatever is allowed, and changes nothing but the caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
    }
}

/// Asks for the cache line at a place beyond the start of a slice, to be written to.
#[inline(always)]
pub(crate) fn fetch_to_write(bytes: &mut [u8], at: usize) {
    let place: *const i8 = bytes.as_mut_ptr().wrapping_add(at).cast();
    // SAFETY: a prefetch of any address whatever is allowed, and changes nothing but the caches.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(place) };
}

/// Signed bytes as bytes.
#[cfg(feature = "gradient")]
pub(crate) const fn as_bytes(items: &[i8]) -> &[u8] {
    // SAFETY: the reference covers them, and what is an i8 is a u8 too, of the same size.
    unsafe { core::slice::from_raw_parts(items.as_ptr().cast(), items.len()) }
}

/// Signed bytes as bytes.
#[cfg(feature = "gradient")]
pub(crate) const fn as_bytes_mut(items: &mut [i8]) -> &mut [u8] {
    // SAFETY: the exclusive reference covers them, and what is a u8 is an i8 too, of the same size.
    unsafe { core::slice::from_raw_parts_mut(items.as_mut_ptr().cast(), items.len()) }
}
