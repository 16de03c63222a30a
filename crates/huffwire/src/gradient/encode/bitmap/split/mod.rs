//! Zeros apart from the rest: which of eight bytes are 0, and those that are not.
//!
//! Each kernel has a portable version, which defines it, and one for each instruction set that does better.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::platform::Platform;

/// Bytes that kernels may touch behind the values.
pub(super) const SLACK: usize = 64;

/// Puts a bit for each of `bytes` in `masks`, 1 where it is not 0, lowest first; there are as many masks as
/// that takes. Puts the bytes that are not 0, less 1, at the start of `values`, which has room for all bytes
/// and [`SLACK`]; returns their number.
pub(super) fn split(
    platform: Platform,
    bytes: &[u8],
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    match platform {
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::split(proof, bytes, masks, values),
        _ => portable::split(bytes, masks, values),
    }
}

/// The inverse: `values` has one for each bit that is 1, and [`SLACK`] bytes behind them.
pub(super) fn join(platform: Platform, masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    match platform {
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::join(proof, masks, values, bytes),
        _ => portable::join(masks, values, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::Random;

    #[test]
    fn all_platforms_split_and_join_alike() {
        let random = Random::new(5);
        for case in 0..400u64 {
            let count = random.below(3 * case, 700) as usize;
            let share = random.below(3 * case + 1, 256);
            let byte = |i: u64| {
                let bits = random.bits(1000 * case + i);
                if bits & 255 < share { 0 } else { (bits >> 8) as u8 | 1 }
            };
            let bytes: Vec<u8> = (0..count as u64).map(byte).collect();
            let kept: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
            for platform in Platform::available() {
                let mut masks = vec![0xee; count.div_ceil(8)];
                let mut values = vec![0xee; count + SLACK];
                assert_eq!(split(platform, &bytes, &mut masks, &mut values), kept.len());
                assert!(values.iter().zip(&kept).all(|(value, byte)| *value == byte - 1));
                for (i, &byte) in bytes.iter().enumerate() {
                    assert_eq!(masks[i / 8] >> (i % 8) & 1 == 1, byte != 0);
                }
                let ones: u32 = masks.iter().map(|mask| mask.count_ones()).sum();
                assert_eq!(ones as usize, kept.len(), "no bits beyond the end");
                let mut joined = vec![0xee; count];
                join(platform, &masks, &values, &mut joined);
                assert!(joined == bytes);
            }
        }
    }
}
