//! Kernels of layers in portable safe Rust.
//!
//! The loops go over the bits of 64 items at a time. The branch of a loop over single items would be mispredicted all
//! the time, that of a loop over the bits of eight items nearly as often.

use crate::kernels::layers::{Items, ItemsMut};

/// Items that are looked at together for zeros: where most are, that is all that is done to them.
const GROUP: usize = 256;

/// Of 64 items, those that are taken whether they are there or not.
const FIRST: usize = 2;

/// A number, and the byte that stands for it.
pub(crate) trait Item: Copy + Default + PartialEq {
    /// A byte that is smaller for smaller magnitudes; 255 for all that need more.
    fn to_byte(self) -> u8;

    /// The number of a byte; anything for 255.
    fn from_byte(byte: u8) -> Self;

    /// Which of 64 items are not 0, by bits.
    fn nonzero(items: &[Self; 64]) -> u64;
}

impl Item for u8 {
    #[inline(always)]
    fn to_byte(self) -> u8 {
        self
    }

    #[inline(always)]
    fn from_byte(byte: u8) -> Self {
        byte
    }

    #[inline(always)]
    fn nonzero(items: &[Self; 64]) -> u64 {
        nonzero_of_bytes(items)
    }
}

impl Item for i8 {
    #[inline(always)]
    fn to_byte(self) -> u8 {
        // -128 has 255 of its own accord.
        ((self << 1) ^ (self >> 7)) as u8
    }

    #[inline(always)]
    fn from_byte(byte: u8) -> Self {
        (byte >> 1) as Self ^ -((byte & 1) as Self)
    }

    #[inline(always)]
    fn nonzero(items: &[Self; 64]) -> u64 {
        nonzero_of_bytes(&items.map(|item| item as u8))
    }
}

impl Item for i32 {
    #[inline(always)]
    fn to_byte(self) -> u8 {
        (((self << 1) ^ (self >> 31)) as u32).min(255) as u8
    }

    #[inline(always)]
    fn from_byte(byte: u8) -> Self {
        i8::from_byte(byte).into()
    }

    #[inline(always)]
    fn nonzero(items: &[Self; 64]) -> u64 {
        if items.iter().fold(0, |any, item| any | item) == 0 {
            return 0;
        }
        items.iter().enumerate().fold(0, |all, (i, item)| all | u64::from(*item != 0) << i)
    }
}

/// Which of 64 bytes are not 0, by bits.
#[inline(always)]
fn nonzero_of_bytes(bytes: &[u8; 64]) -> u64 {
    // Most are zeros where this is worth its while.
    if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
        return 0;
    }
    let words = bytes.as_chunks::<8>().0.iter().enumerate();
    words.fold(0, |all, (i, word)| {
        all | u64::from(nonzero_bytes(u64::from_le_bytes(*word))) << (8 * i)
    })
}

/// Which bytes of a word are not 0, a bit each.
#[inline(always)]
const fn nonzero_bytes(word: u64) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let flags = (((word & LOW) + LOW) | word) & !LOW;
    // Moves the top bits of eight bytes together.
    ((flags >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[inline(always)]
pub(crate) fn compress(items: Items<'_>, masks: &mut [u8], values: &mut [u8]) -> usize {
    match items {
        Items::Bytes(items) => compress_items(items, masks, values),
        Items::I8(items) => compress_items(items, masks, values),
        Items::I32(items) => compress_items(items, masks, values),
    }
}

#[inline(always)]
pub(crate) fn expand(masks: &[u8], values: &[u8], items: ItemsMut<'_>) {
    match items {
        ItemsMut::Bytes(items) => expand_items(masks, values, items),
        ItemsMut::I8(items) => expand_items(masks, values, items),
        ItemsMut::I32(items) => expand_items(masks, values, items),
    }
}

#[inline(always)]
pub(crate) fn compress_items<T: Item>(items: &[T], masks: &mut [u8], values: &mut [u8]) -> usize {
    let mut kept = 0;
    let mut put = |items: &[T; 64], masks: &mut [u8]| {
        let mut bits = T::nonzero(items);
        masks.copy_from_slice(&bits.to_le_bytes()[..masks.len()]);
        let count = bits.count_ones() as usize;
        let values = values.get_mut(kept..).unwrap_or(&mut []);
        kept += count;
        if bits == u64::MAX {
            if let Some(values) = values.first_chunk_mut::<64>() {
                *values = items.map(|item| item.to_byte().wrapping_sub(1));
            }
            return;
        }
        // The first two come without a branch, which would be guessed wrongly where most are zeros.
        for value in values.iter_mut().take(FIRST) {
            *value = items[bits.trailing_zeros() as usize & 63].to_byte().wrapping_sub(1);
            bits &= bits.wrapping_sub(1);
        }
        for value in values.get_mut(FIRST..count).unwrap_or(&mut []) {
            *value = items[bits.trailing_zeros() as usize & 63].to_byte().wrapping_sub(1);
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

#[inline(always)]
pub(crate) fn expand_items<T: Item>(masks: &[u8], values: &[u8], items: &mut [T]) {
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
            *items = values.map(|value| T::from_byte(value.wrapping_add(1)));
            rest = &rest[64..];
            continue;
        }
        if let (Some(values), Some(_)) = (rest.first_chunk::<FIRST>(), items.get(63)) {
            // The first two without a branch, as above.
            for value in values {
                let place = &mut items[bits.trailing_zeros() as usize & 63];
                *place = if bits == 0 { *place } else { T::from_byte(value.wrapping_add(1)) };
                bits &= bits.wrapping_sub(1);
            }
        }
        let taken = count - bits.count_ones() as usize;
        let end = rest.len().min(count);
        for value in rest.get(taken..end).unwrap_or(&[]) {
            if let Some(place) = items.get_mut(bits.trailing_zeros() as usize) {
                *place = T::from_byte(value.wrapping_add(1));
            }
            bits &= bits.wrapping_sub(1);
        }
        rest = &rest[end..];
    }
}
