//! Kernels that set zeros apart. For eight items they make a mask with a bit for each item, and move the items that are
//! not 0 together. A bitmap has several such layers: the masks of one layer are the items of the next.

use super::Kernels;
use super::platform::{Platform, on};

/// Bytes that kernels may touch behind the values.
pub(crate) const SLACK: usize = 64;

/// What a layer is made of: small numbers, each of them a byte `number` of its own, 0 for 0.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Items<'a> {
    /// The bytes themselves.
    Bytes(&'a [u8]),
    /// Small magnitudes have small bytes (0, -1, 1, -2, …): 0 to 255 for all of them.
    I8(&'a [i8]),
    /// The same; those that need more have 255.
    I32(&'a [i32]),
}

/// Room for [`Items`]. Where 255 stood for more than one number, it becomes -128.
#[derive(Debug)]
pub(crate) enum ItemsMut<'a> {
    /// Bytes.
    Bytes(&'a mut [u8]),
    /// Numbers of a byte.
    I8(&'a mut [i8]),
    /// Numbers of four bytes.
    I32(&'a mut [i32]),
}

/// Puts a bit for each of `items` in `masks`, 1 where it is not 0, lowest first; there are as many masks as
/// that takes. Puts the bytes of those that are not 0, less 1, at the start of `values`, which has room for all
/// and [`SLACK`]; returns their number.
pub(crate) fn compress(
    platform: Platform,
    items: Items<'_>,
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    on!(platform, kernels => kernels.compress_layer(items, masks, values))
}

/// The inverse of [`compress`]: `values` has one for each bit that is 1. Where values have run out, anything may
/// come out.
pub(crate) fn expand(platform: Platform, masks: &[u8], values: &[u8], items: ItemsMut<'_>) {
    on!(platform, kernels => kernels.expand_layer(masks, values, items));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::portable::layers::Item;

    /// SplitMix64: the n-th number of a seed.
    fn noise(seed: u64, n: u64) -> u64 {
        let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n.wrapping_add(1)));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn numbers_are_bytes_and_back() {
        for number in -127..=127i8 {
            assert_eq!(i8::from_byte(number.to_byte()), number);
            assert_eq!(i32::from(number).to_byte(), number.to_byte());
        }
        assert_eq!(((-128i8).to_byte(), (-128i32).to_byte()), (255, 255));
        assert_eq!((i32::MAX.to_byte(), i32::MIN.to_byte()), (255, 255));
    }

    #[test]
    fn numbers_that_need_more_than_a_byte_have_the_highest() {
        let numbers: Vec<i32> = (0..200).map(|i| (i - 100) << (i % 26)).collect();
        for platform in Platform::available() {
            let (mut masks, mut values) = (vec![0; 25], vec![0; 200 + SLACK]);
            let kept = compress(platform, Items::I32(&numbers), &mut masks, &mut values);
            let bytes = numbers.iter().map(|number| number.to_byte()).filter(|byte| *byte > 0);
            assert!(values[..kept].iter().map(|value| value + 1).eq(bytes));
        }
    }

    /// Streams that lie about their masks.
    #[test]
    fn values_that_run_out_are_no_reason_to_panic() {
        let masks = [0x5f; 100];
        for platform in Platform::available() {
            for values in [&[][..], &[1; 7], &[1; 70]] {
                expand(platform, &masks, values, ItemsMut::Bytes(&mut [0; 799]));
                expand(platform, &masks, values, ItemsMut::I8(&mut [0; 799]));
                expand(platform, &masks, values, ItemsMut::I32(&mut [0; 799]));
            }
        }
    }

    #[test]
    fn all_platforms_compress_and_expand_alike() {
        for case in 0..400u64 {
            let count = (noise(5, 3 * case) % 1500) as usize;
            let share = noise(5, 3 * case + 1) % 256;
            let byte = |i: u64| {
                let bits = noise(6, 2000 * case + i);
                // Some have long runs too.
                let is_long = case.is_multiple_of(3) && (i / 300).is_multiple_of(2);
                if bits & 255 < share || is_long { 0 } else { (bits >> 8) as u8 | 1 }
            };
            let bytes: Vec<u8> = (0..count as u64).map(byte).collect();
            let kept: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            for platform in Platform::available() {
                let mut masks = vec![0xee; count.div_ceil(8)];
                let mut values = vec![0xee; count + SLACK];
                let found = compress(platform, Items::Bytes(&bytes), &mut masks, &mut values);
                assert_eq!(found, kept.len());
                assert!(values.iter().zip(&kept).all(|(value, byte)| *value == byte - 1));
                for (i, &byte) in bytes.iter().enumerate() {
                    assert_eq!(masks[i / 8] >> (i % 8) & 1 == 1, byte != 0);
                }
                let ones: u32 = masks.iter().map(|mask| mask.count_ones()).sum();
                assert_eq!(ones as usize, kept.len(), "no bits beyond the end");
                let values = &values[..kept.len()];
                let mut expanded = vec![0xee; count];
                expand(platform, &masks, values, ItemsMut::Bytes(&mut expanded));
                assert!(expanded == bytes);

                let narrow: Vec<i8> = bytes.iter().map(|byte| i8::from_byte(*byte)).collect();
                let wide: Vec<i32> = bytes.iter().map(|byte| i32::from_byte(*byte)).collect();
                for items in [Items::I8(&narrow), Items::I32(&wide)] {
                    let mut other_masks = vec![0xee; count.div_ceil(8)];
                    let mut other_values = vec![0xee; count + SLACK];
                    let found = compress(platform, items, &mut other_masks, &mut other_values);
                    assert_eq!(found, kept.len());
                    assert!(other_masks == masks && other_values[..found] == *values);
                }
                let mut expanded = vec![0x55i8; count];
                expand(platform, &masks, values, ItemsMut::I8(&mut expanded));
                assert!(expanded == narrow);
                let mut expanded = vec![0x55i32; count];
                expand(platform, &masks, values, ItemsMut::I32(&mut expanded));
                assert!(expanded == wide);
            }
        }
    }
}
