//! Kernels of deltas: which words differ, and how the hazards of a base add up.

use super::Kernels;
use super::platform::{Platform, on};

/// Words whose hazards are added up together.
pub(crate) const GROUP: usize = 8;

/// How far each class moves a clock.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    /// By class.
    pub(crate) all: [u16; 256],
    /// The low bytes of the same, and the high ones.
    pub(crate) low: [u8; 256],
    pub(crate) high: [u8; 256],
}

impl Ticks {
    pub(crate) fn new(all: [u16; 256]) -> Self {
        let [low, high] = [0, 8].map(|shift| all.map(|ticks| (ticks >> shift) as u8));
        Self { all, low, high }
    }
}

/// Appends the numbers of the words that differ, which have `2^log2` bytes.
pub(crate) fn differing(
    platform: Platform,
    log2: u32,
    base: &[u8],
    new: &[u8],
    out: &mut Vec<u32>,
) {
    on!(platform, kernels => kernels.differing(log2, base, new, out));
}

/// Adds up ticks. `sums` gets, for each group of words, the ticks of all groups up to it; the words are given by their
/// classes. There is a sum for each group, the last one of which may be partial.
pub(crate) fn sum_ticks(platform: Platform, classes: &[u8], ticks: &Ticks, sums: &mut [u32]) {
    debug_assert_eq!(sums.len(), classes.len().div_ceil(GROUP));
    on!(platform, kernels => kernels.sum_ticks(classes, ticks, sums));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_platforms_find_the_same_words(
            base in prop::collection::vec(any::<u8>(), 0..700),
            flips in prop::collection::vec((any::<usize>(), 0u8..=255), 0..60),
            log2 in 0u32..4,
        ) {
            let base = &base[..base.len() >> log2 << log2];
            let mut new = base.to_vec();
            for (place, flip) in flips.into_iter().filter(|_| !base.is_empty()) {
                new[place % base.len()] ^= flip;
            }
            let size = 1 << log2;
            let pairs = base.chunks(size).zip(new.chunks(size)).enumerate();
            let expected: Vec<u32> =
                pairs.filter(|(_, (a, b))| a != b).map(|(index, _)| index as u32).collect();
            for platform in Platform::available() {
                let mut found = Vec::new();
                differing(platform, log2, base, &new, &mut found);
                prop_assert_eq!(&found, &expected, "{}", platform);
            }
        }

        #[test]
        fn all_platforms_add_up_the_same_ticks(
            classes in prop::collection::vec(any::<u8>(), 0..700),
            seed: u16,
        ) {
            let ticks = Ticks::new(std::array::from_fn(|class| {
                (class as u16).wrapping_mul(seed | 1) >> 1
            }));
            let groups = classes.chunks(GROUP).scan(0, |sum, group| {
                *sum += group.iter().map(|class| u32::from(ticks.all[usize::from(*class)])).sum::<u32>();
                Some(*sum)
            });
            let expected: Vec<u32> = groups.collect();
            for platform in Platform::available() {
                let mut sums = vec![7; expected.len()];
                sum_ticks(platform, &classes, &ticks, &mut sums);
                prop_assert_eq!(&sums, &expected, "{}", platform);
            }
        }
    }
}
