//! The kernels for AVX-512 with VBMI2: one compress, one expand.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use crate::platform::Avx512;
use crate::platform::avx512::{load, store};

pub(super) fn split(_proof: Avx512, bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { split_with(bytes, masks, values) }
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn split_with(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let (vectors, last) = bytes.as_chunks::<64>();
    let mut kept = 0;
    let mut done = 0;
    for (vector, eight) in vectors.iter().zip(masks.as_chunks_mut::<8>().0) {
        let vector = load(vector);
        let mask = _mm512_test_epi8_mask(vector, vector);
        // There is room for all, and then some.
        let Some(to) = values.get_mut(kept..).and_then(<[u8]>::first_chunk_mut) else { break };
        *eight = mask.to_le_bytes();
        let less = _mm512_sub_epi8(vector, _mm512_set1_epi8(1));
        store(to, _mm512_maskz_compress_epi8(mask, less));
        kept += mask.count_ones() as usize;
        done += 8;
    }
    let (masks, values) = (&mut masks[done..], values.get_mut(kept..).unwrap_or(&mut []));
    kept + super::portable::split(last, masks, values)
}

pub(super) fn join(_proof: Avx512, masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    // SAFETY: the proof says that the processor has the instructions.
    unsafe { join_with(masks, values, bytes) }
}

#[target_feature(enable = "avx512vbmi,avx512vbmi2,avx512vl,bmi2,popcnt")]
fn join_with(masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    let (vectors, last) = bytes.as_chunks_mut::<64>();
    let mut rest = values;
    for (vector, eight) in vectors.iter_mut().zip(masks.as_chunks::<8>().0) {
        let mask = u64::from_le_bytes(*eight);
        match rest.first_chunk() {
            Some(values) => {
                let values = _mm512_add_epi8(load(values), _mm512_set1_epi8(1));
                store(vector, _mm512_maskz_expand_epi8(mask, values));
            }
            None => super::portable::join(eight, rest, vector),
        }
        rest = rest.get(mask.count_ones() as usize..).unwrap_or(&[]);
    }
    let masks = masks.get(8 * vectors.len()..).unwrap_or(&[]);
    super::portable::join(masks, rest, last);
}
