//! The kernels in portable safe Rust.
//!
//! Bits of 64 bytes at a time are gone through: a loop over bytes would guess wrongly all the time, one over
//! the bits of eight bytes nearly as often.

use crate::gradient::states::not_zero;

pub(super) fn split(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    let (vectors, last) = bytes.as_chunks::<64>();
    let mut kept = 0;
    for (vector, eight) in vectors.iter().zip(masks.chunks_mut(8)) {
        kept += split_64(vector, eight, values.get_mut(kept..).unwrap_or(&mut []));
    }
    if !last.is_empty() {
        let mut vector = [0; 64];
        vector[..last.len()].copy_from_slice(last);
        let masks = &mut masks[8 * vectors.len()..];
        kept += split_64(&vector, masks, values.get_mut(kept..).unwrap_or(&mut []));
    }
    kept
}

#[inline(always)]
fn split_64(vector: &[u8; 64], masks: &mut [u8], values: &mut [u8]) -> usize {
    // Most are zeros where this is worth its while.
    if vector.iter().fold(0, |any, byte| any | byte) == 0 {
        masks.fill(0);
        return 0;
    }
    let mut bits = 0;
    for (index, word) in vector.as_chunks::<8>().0.iter().enumerate() {
        bits |= u64::from(not_zero(u64::from_le_bytes(*word))) << (8 * index);
    }
    masks.copy_from_slice(&bits.to_le_bytes()[..masks.len()]);
    let count = bits.count_ones() as usize;
    if bits == u64::MAX {
        if let Some(values) = values.first_chunk_mut::<64>() {
            *values = vector.map(|byte| byte.wrapping_sub(1));
        }
    } else if let Some(values) = values.get_mut(..count) {
        for value in values {
            *value = vector[bits.trailing_zeros() as usize & 63].wrapping_sub(1);
            bits &= bits.wrapping_sub(1);
        }
    }
    count
}

pub(super) fn join(masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    let mut rest = values;
    for (bytes, masks) in bytes.chunks_mut(64).zip(masks.chunks(8)) {
        let mut eight = [0; 8];
        eight[..masks.len()].copy_from_slice(masks);
        let mut bits = u64::from_le_bytes(eight);
        if bits == 0 {
            bytes.fill(0);
            continue;
        }
        let mut vector = [0; 64];
        let (values, after) = rest.split_at(rest.len().min(bits.count_ones() as usize));
        for value in values {
            vector[bits.trailing_zeros() as usize & 63] = value.wrapping_add(1);
            bits &= bits.wrapping_sub(1);
        }
        match bytes.first_chunk_mut() {
            Some(bytes) => *bytes = vector,
            None => bytes.copy_from_slice(&vector[..bytes.len()]),
        }
        rest = after;
    }
}
