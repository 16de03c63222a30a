//! The kernels in portable safe Rust.
//!
//! Bits of 64 items at a time are gone through: a loop over items would guess wrongly all the time, one over
//! the bits of eight items nearly as often.

use crate::gradient::values::{Value, not_zero};

/// Items that are looked at together for zeros: where most are, that is all that is done to them.
const GROUP: usize = 256;

/// Of 64 items, those that are taken whether they are there or not.
const FIRST: usize = 2;

pub(super) fn split(bytes: &[u8], masks: &mut [u8], values: &mut [u8]) -> usize {
    split_by(bytes, masks, values, others, |byte| byte)
}

#[inline(always)]
pub(super) fn split_states<S: Value>(states: &[S], masks: &mut [u8], values: &mut [u8]) -> usize {
    split_by(states, masks, values, S::others, S::to_zigzag)
}

/// Which of 64 bytes are not 0, by bits.
#[inline(always)]
fn others(bytes: &[u8; 64]) -> u64 {
    // Most are zeros where this is worth its while.
    if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
        return 0;
    }
    let words = bytes.as_chunks::<8>().0.iter().enumerate();
    words.fold(0, |all, (i, word)| all | u64::from(not_zero(u64::from_le_bytes(*word))) << (8 * i))
}

#[inline(always)]
fn split_by<T: Copy + Default + PartialEq>(
    items: &[T],
    masks: &mut [u8],
    values: &mut [u8],
    others: impl Fn(&[T; 64]) -> u64,
    number: impl Fn(T) -> u8,
) -> usize {
    let mut kept = 0;
    let mut put = |items: &[T; 64], masks: &mut [u8]| {
        let mut bits = others(items);
        masks.copy_from_slice(&bits.to_le_bytes()[..masks.len()]);
        let count = bits.count_ones() as usize;
        let values = values.get_mut(kept..).unwrap_or(&mut []);
        kept += count;
        if bits == u64::MAX {
            if let Some(values) = values.first_chunk_mut::<64>() {
                *values = items.map(|item| number(item).wrapping_sub(1));
            }
            return;
        }
        // The first two come without a branch, which would be guessed wrongly where most are zeros.
        for value in values.iter_mut().take(FIRST) {
            *value = number(items[bits.trailing_zeros() as usize & 63]).wrapping_sub(1);
            bits &= bits.wrapping_sub(1);
        }
        for value in values.get_mut(FIRST..count).unwrap_or(&mut []) {
            *value = number(items[bits.trailing_zeros() as usize & 63]).wrapping_sub(1);
            bits &= bits.wrapping_sub(1);
        }
    };
    let (groups, rest) = items.as_chunks::<GROUP>();
    let (group_masks, masks) = masks.split_at_mut(GROUP / 8 * groups.len());
    for (items, masks) in groups.iter().zip(group_masks.as_chunks_mut::<{ GROUP / 8 }>().0) {
        if !items.iter().fold(false, |any, &item| any | (item != T::default())) {
            *masks = [0; GROUP / 8];
            continue;
        }
        for (items, masks) in items.as_chunks().0.iter().zip(masks.as_chunks_mut::<8>().0) {
            put(items, masks);
        }
    }
    let (vectors, last) = rest.as_chunks::<64>();
    let (eights, last_masks) = masks.split_at_mut(8 * vectors.len());
    for (items, masks) in vectors.iter().zip(eights.as_chunks_mut::<8>().0) {
        put(items, masks);
    }
    if !last.is_empty() {
        let mut items = [T::default(); 64];
        items[..last.len()].copy_from_slice(last);
        put(&items, last_masks);
    }
    kept
}

pub(super) fn join(masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    join_by(masks, values, bytes, |byte| byte);
}

#[inline(always)]
pub(super) fn join_states<S: Value>(masks: &[u8], values: &[u8], states: &mut [S]) {
    join_by(masks, values, states, S::from_zigzag);
}

#[inline(always)]
fn join_by<T: Copy + Default>(
    masks: &[u8],
    values: &[u8],
    items: &mut [T],
    item: impl Fn(u8) -> T,
) {
    let mut rest = values;
    items.fill(T::default());
    for (items, masks) in items.chunks_mut(64).zip(masks.chunks(8)) {
        let mut eight = [0; 8];
        match masks.first_chunk() {
            Some(masks) => eight = *masks,
            None => eight[..masks.len()].copy_from_slice(masks),
        }
        let mut bits = u64::from_le_bytes(eight);
        if bits == 0 {
            continue;
        }
        let count = bits.count_ones() as usize;
        if let (true, Some(values), Ok(items)) =
            (bits == u64::MAX, rest.first_chunk::<64>(), <&mut [T; 64]>::try_from(&mut *items))
        {
            *items = values.map(|value| item(value.wrapping_add(1)));
            rest = &rest[64..];
            continue;
        }
        if let (Some(values), Some(_)) = (rest.first_chunk::<FIRST>(), items.get(63)) {
            // The first two without a branch, as above.
            for value in values {
                let place = &mut items[bits.trailing_zeros() as usize & 63];
                *place = if bits == 0 { *place } else { item(value.wrapping_add(1)) };
                bits &= bits.wrapping_sub(1);
            }
        }
        let taken = count - bits.count_ones() as usize;
        let end = rest.len().min(count);
        for value in rest.get(taken..end).unwrap_or(&[]) {
            if let Some(place) = items.get_mut(bits.trailing_zeros() as usize) {
                *place = item(value.wrapping_add(1));
            }
            bits &= bits.wrapping_sub(1);
        }
        rest = &rest[end..];
    }
}
