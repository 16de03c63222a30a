//! Histograms in little memory: an analysis keeps one for every plane of every shard.

use huffwire::calibrate::Profile;
use huffwire::{Dtype, Layout, SymbolRule};

/// Counts as variable-length numbers of 7 bits a byte, lowest first. A 0 stands for a run of zeros and is followed by
/// their number. A byte plane of a shard of a million values takes some 700 bytes, an exponent plane some 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedCounts(Box<[u8]>);

impl PackedCounts {
    pub(crate) fn new(counts: &[u64]) -> Self {
        let mut bytes = Vec::new();
        let mut rest = counts;
        while let Some((&count, tail)) = rest.split_first() {
            put(count, &mut bytes);
            rest = tail;
            if count == 0 {
                let zeros = rest.iter().take_while(|count| **count == 0).count();
                put(zeros as u64 + 1, &mut bytes);
                rest = &rest[zeros..];
            }
        }
        Self(bytes.into())
    }

    /// The counts again, in the memory of `counts`.
    pub(crate) fn unpack(&self, counts: &mut Vec<u64>) {
        counts.clear();
        let mut bytes = self.0.iter();
        while let Some(count) = take(&mut bytes) {
            let times = if count == 0 { take(&mut bytes).unwrap_or(0) } else { 1 };
            counts.resize(counts.len() + times as usize, count);
        }
    }
}

/// Counts of a plane: of a shard, or of so many shards that were counted together.
#[derive(Clone, Copy)]
pub(crate) struct Weighted<'a> {
    pub(crate) counts: &'a PackedCounts,
    pub(crate) shards: u64,
}

fn put(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

/// The histograms of a shard: those of all planes of symbols, under every layout that its bytes fit.
#[derive(Debug, Clone)]
pub(crate) struct PackedProfile {
    pub(crate) units: u64,
    planes: Box<[(Layout, u8, PackedCounts)]>,
}

impl PackedProfile {
    pub(crate) fn new(profile: &Profile) -> Self {
        let planes = profile.layouts().flat_map(|layout| {
            let planes = 0..profile.dtype().planes(layout).len();
            planes.filter_map(move |plane| {
                let counts = profile.counts(layout, plane)?;
                Some((layout, plane as u8, PackedCounts::new(counts)))
            })
        });
        Self { units: profile.units(), planes: planes.collect() }
    }

    /// Adds what was counted of another shard, of the same type and by the same rule.
    pub(crate) fn merge(&mut self, other: &Profile, rule: SymbolRule) {
        let mut all = self.profile(other.dtype(), rule);
        all.merge(other);
        *self = Self::new(&all);
    }

    /// The counts of a plane; `None` where the bytes do not fit the layout, and for a plane that is no symbols.
    pub(crate) fn counts(&self, layout: Layout, plane: usize) -> Option<&PackedCounts> {
        let is_it =
            |held: &&(Layout, u8, PackedCounts)| held.0 == layout && usize::from(held.1) == plane;
        self.planes.iter().find(is_it).map(|(_, _, counts)| counts)
    }

    /// The profile again, of the type and rule that it was counted by.
    pub(crate) fn profile(&self, dtype: Dtype, rule: SymbolRule) -> Profile {
        Profile::from_counts(dtype, rule, self.units, |layout, plane| {
            let mut counts = Vec::new();
            self.counts(layout, plane)?.unpack(&mut counts);
            Some(counts)
        })
    }

    /// Whether the bytes fit a layout.
    pub(crate) fn fits(&self, layout: Layout) -> bool {
        self.planes.iter().any(|(held, _, _)| *held == layout)
    }
}

/// Values in so many units of a type that was converted or read.
pub(crate) fn values(dtype: Dtype, units: u64) -> u64 {
    dtype.values_in(units.saturating_mul(dtype.unit_bytes() as u64)).unwrap_or(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use huffwire_testing::Random;

    #[test]
    fn counts_come_back() {
        let mut random = Random::new(3);
        let mut counts: Vec<u64> = (0..257).map(|_| random.bits() >> random.below(64)).collect();
        counts[7..20].fill(0);
        counts[256] = 0;
        counts[0] = u64::MAX;
        for counts in [&counts[..], &[0; 257], &[], &[5]] {
            let mut unpacked = vec![9];
            PackedCounts::new(counts).unpack(&mut unpacked);
            assert_eq!(unpacked, counts);
        }
    }

    #[test]
    fn a_shard_takes_less_than_four_kib() {
        let bytes: Vec<u8> = huffwire_testing::noise(4 << 20, 1);
        for rule in [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes] {
            for dtype in [Dtype::Bf16, Dtype::F32, Dtype::E4m3] {
                let mut profile = Profile::new(dtype, rule);
                profile.add(&bytes).unwrap();
                let packed = PackedProfile::new(&profile);
                let size: usize =
                    packed.planes.iter().map(|(_, _, counts)| counts.0.len() + 24).sum();
                assert!(size < 4096, "{dtype} {size}");
            }
        }
    }
}
