//! Zeros apart from the rest: which of eight bytes are 0, and those that are not.
//!
//! Each kernel has a portable version, which defines it, and one for each instruction set that does better.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::gradient::values::{Values, ValuesMut, with_values};
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
        Platform::Portable => portable::split(bytes, masks, values),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx2(proof) => avx2::split(proof, bytes, masks, values),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::split(proof, bytes, masks, values),
    }
}

/// [`split`] of the bytes of states (`zigzag`, at most 255), without a place for the bytes themselves.
pub(super) fn split_states(
    platform: Platform,
    states: Values<'_>,
    masks: &mut [u8],
    values: &mut [u8],
) -> usize {
    match platform {
        Platform::Portable => {
            with_values!(Values, states, states => portable::split_states(states, masks, values))
        }
        #[cfg(target_arch = "x86_64")]
        Platform::Avx2(proof) => avx2::split_states(proof, states, masks, values),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::split_states(proof, states, masks, values),
    }
}

/// The inverse of [`split`]: `values` has one for each bit that is 1. Where values have run out, anything may
/// come out.
pub(super) fn join(platform: Platform, masks: &[u8], values: &[u8], bytes: &mut [u8]) {
    match platform {
        Platform::Portable => portable::join(masks, values, bytes),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx2(proof) => avx2::join(proof, masks, values, bytes),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::join(proof, masks, values, bytes),
    }
}

/// The inverse of [`split_states`]; byte 255 becomes state -128.
pub(super) fn join_states(platform: Platform, masks: &[u8], values: &[u8], states: ValuesMut<'_>) {
    match platform {
        Platform::Portable => {
            with_values!(ValuesMut, states, states => portable::join_states(masks, values, states));
        }
        #[cfg(target_arch = "x86_64")]
        Platform::Avx2(proof) => avx2::join_states(proof, masks, values, states),
        #[cfg(target_arch = "x86_64")]
        Platform::Avx512(proof) => avx512::join_states(proof, masks, values, states),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::Random;
    use crate::gradient::values::Value;

    #[test]
    fn states_that_need_more_than_a_byte_have_the_highest() {
        let states: Vec<i32> = (0..200).map(|i| (i - 100) << (i % 26)).collect();
        for platform in Platform::available() {
            let (mut masks, mut values) = (vec![0; 25], vec![0; 200 + SLACK]);
            let kept = split_states(platform, Values::I32(&states), &mut masks, &mut values);
            let numbers = states.iter().map(|state| state.to_zigzag()).filter(|number| *number > 0);
            assert!(values[..kept].iter().map(|value| value + 1).eq(numbers));
        }
    }

    /// Streams that lie about their masks.
    #[test]
    fn values_that_run_out_are_no_reason_to_panic() {
        let masks = [0x5f; 100];
        for platform in Platform::available() {
            for values in [&[][..], &[1; 7], &[1; 70]] {
                join(platform, &masks, values, &mut [0; 799]);
                join_states(platform, &masks, values, ValuesMut::I8(&mut [0; 799]));
                join_states(platform, &masks, values, ValuesMut::I32(&mut [0; 799]));
            }
        }
    }

    #[test]
    fn all_platforms_split_and_join_alike() {
        let random = Random::new(5);
        for case in 0..400u64 {
            let count = random.below(3 * case, 1500) as usize;
            let share = random.below(3 * case + 1, 256);
            let byte = |i: u64| {
                let bits = random.bits(2000 * case + i);
                // Some have long runs too.
                let is_long = case.is_multiple_of(3) && (i / 300).is_multiple_of(2);
                if bits & 255 < share || is_long { 0 } else { (bits >> 8) as u8 | 1 }
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
                join(platform, &masks, &values[..kept.len()], &mut joined);
                assert!(joined == bytes);

                let narrow: Vec<i8> = bytes.iter().map(|byte| i8::from_zigzag(*byte)).collect();
                let wide: Vec<i32> = bytes.iter().map(|byte| i32::from_zigzag(*byte)).collect();
                for states in [Values::I8(&narrow), Values::I32(&wide)] {
                    let mut state_masks = vec![0xee; count.div_ceil(8)];
                    let mut state_values = vec![0xee; count + SLACK];
                    let found = split_states(platform, states, &mut state_masks, &mut state_values);
                    assert_eq!(found, kept.len());
                    assert!(state_masks == masks && state_values[..found] == values[..found]);
                }
                let mut joined = vec![0x55i8; count];
                join_states(platform, &masks, &values[..kept.len()], (&mut joined[..]).into());
                assert!(joined == narrow);
                let mut joined = vec![0x55i32; count];
                join_states(platform, &masks, &values[..kept.len()], (&mut joined[..]).into());
                assert!(joined == wide);
            }
        }
    }
}
