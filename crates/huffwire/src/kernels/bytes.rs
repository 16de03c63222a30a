//! Kernels over bytes that know nothing of tensors: counting, selecting, expanding.
//!
//! The portable version of each kernel defines the result. Instruction sets that are faster have versions of their own.

use super::Kernels;
use super::platform::{Platform, on};

/// How often each byte occurs; at most 2³² - 1 bytes.
pub(crate) fn histogram(platform: Platform, bytes: &[u8]) -> [u32; 256] {
    on!(platform, kernels => kernels.histogram(bytes))
}

/// Appends to `out` the values whose keys are `chosen`.
pub(crate) fn select(
    platform: Platform,
    chosen: &[bool; 256],
    keys: &[u8],
    values: &[u8],
    out: &mut Vec<u8>,
) {
    on!(platform, kernels => kernels.select(chosen, keys, values, out));
}

/// Keeps the values whose keys are not 0, moved together.
pub(crate) fn compact(platform: Platform, keys: &[u8], values: &mut Vec<u8>) {
    on!(platform, kernels => kernels.compact(keys, values));
}

/// Puts the next of `values` wherever `key` (or, if `other`, anything else) is found in `keys`; returns
/// how many were due. Where values have run out, and elsewhere, `out` stays as it is.
pub(crate) fn expand(
    platform: Platform,
    key: u8,
    other: bool,
    keys: &[u8],
    values: &[u8],
    out: &mut [u8],
) -> usize {
    on!(platform, kernels => kernels.expand(key, other, keys, values, out))
}

/// Puts the next of `values` wherever `key` is found in `bytes`; returns how many were due. Where values
/// have run out, the key stays. The lane coder has its platform at hand and calls the kernel itself.
#[cfg(test)]
fn replace(platform: Platform, key: u8, values: &[u8], bytes: &mut [u8]) -> usize {
    on!(platform, kernels => kernels.replace(key, values, bytes))
}

#[cfg(test)]
mod tests {
    use super::super::portable;
    use super::*;
    use proptest::prelude::*;

    /// Bytes of the kinds that kernels treat differently: all alike, few values, any.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        (0usize..9000, any::<u64>(), 0u32..9, any::<u8>()).prop_map(|(count, seed, bits, low)| {
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                low.wrapping_add((state >> 32 & ((1 << bits) - 1)) as u8)
            };
            (0..count).map(|_| next()).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn all_platforms_count_alike(bytes in bytes(), from in 0usize..70) {
            let bytes = &bytes[from.min(bytes.len())..];
            for platform in Platform::available() {
                prop_assert!(histogram(platform, bytes) == portable::bytes::histogram(bytes));
            }
        }

        #[test]
        fn all_platforms_select_alike(values in bytes(), keys in bytes(), seed in any::<u64>()) {
            let count = values.len().min(keys.len());
            let keys = &keys[..count];
            let mix = |i: usize| seed.wrapping_mul(i as u64 | 1) >> 40;
            let chosen: [bool; 256] = std::array::from_fn(|i| mix(i) & seed & 1 == 1);
            let pairs = keys.iter().zip(&values);
            let expected = pairs.filter(|(key, _)| chosen[usize::from(**key)]);
            let expected: Vec<u8> = [7].into_iter().chain(expected.map(|(_, v)| *v)).collect();
            for platform in Platform::available() {
                let mut out = vec![7];
                select(platform, &chosen, keys, &values[..count], &mut out);
                prop_assert!(out == expected);
            }
        }

        #[test]
        fn all_platforms_compact_and_expand_alike(
            values in bytes(),
            keys in bytes(),
            fewer in 0usize..100,
        ) {
            let count = values.len().min(keys.len());
            let (keys, values) = (&keys[..count], &values[..count]);
            let kept = keys.iter().zip(values).filter(|(key, _)| **key != 0);
            let kept: Vec<u8> = kept.map(|(_, v)| *v).collect();
            for platform in Platform::available() {
                let mut compacted = values.to_vec();
                compact(platform, keys, &mut compacted);
                prop_assert!(compacted == kept);

                let mut expanded = vec![0; count];
                prop_assert_eq!(expand(platform, 0, true, keys, &kept, &mut expanded), kept.len());
                let both = keys.iter().zip(values).zip(&expanded);
                let mut right = both.map(|((key, v), d)| *d == if *key == 0 { 0 } else { *v });
                prop_assert!(right.all(|right| right));

                // Too few values, in place, and the other way round.
                let key = keys.first().copied().unwrap_or(0);
                let mut expected = keys.to_vec();
                let due = portable::bytes::expand(key, false, keys, values, &mut expected);
                let mut replaced = keys.to_vec();
                prop_assert_eq!(replace(platform, key, values, &mut replaced), due);
                prop_assert!(replaced == expected);

                let short = &kept[..kept.len().saturating_sub(fewer)];
                for other in [false, true] {
                    let (mut expanded, mut expected) = (values.to_vec(), values.to_vec());
                    let due = portable::bytes::expand(0, other, keys, short, &mut expected);
                    prop_assert_eq!(expand(platform, 0, other, keys, short, &mut expanded), due);
                    prop_assert!(expanded == expected);
                }
            }
        }
    }
}
