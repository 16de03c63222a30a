//! Averages of the PMFs of shards, each with the same weight (Agrawal et al., arXiv 2601.10673, section 3.2), over all
//! shards and with a part of them left out.

use huffwire::codebook::CodeLimit;
use huffwire::codebook::fit::{self, Effort, Fitted};
use huffwire::planes::Plane;
use huffwire::stats::Pmf;

use crate::packed::Weighted;

/// Index of the exact zero in the histogram of an exponent plane.
pub(crate) const ZERO: usize = 256;
/// Where the mean exponent of a shard is put before averaging.
pub(crate) const CENTRE: usize = 128;
/// Rounds in which shards are shifted onto their average.
const ROUNDS: usize = 3;
/// What calibration does, too: the share of the mass that is spread over all symbols, the share of zeros below which they
/// have no code, and what 12-bit codes must save of the tensor.
const SMOOTHING: f64 = 0.001;
const RARE_ZEROS: f64 = 1.0 / 512.0;
const BITS_12_PAY: f64 = 0.004;

/// The PMF of a plane of a shard. Exponents are shifted, so that those of shards of different scales lie on each other.
pub(crate) fn aligned(counts: &[u64], shift: i32) -> Option<Pmf> {
    let mut weights: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
    if shift != 0 {
        weights[..ZERO].rotate_right(shift.rem_euclid(ZERO as i32) as usize);
    }
    Pmf::from_weights(&weights)
}

/// How far the exponents of a shard are from [`CENTRE`], on average.
fn distance(counts: &[u64]) -> i32 {
    let exponents = counts.iter().take(ZERO);
    let mass: u64 = exponents.clone().sum();
    let moment: u128 = exponents.zip(0u128..).map(|(&count, e)| u128::from(count) * e).sum();
    if mass == 0 { 0 } else { CENTRE as i32 - (moment as f64 / mass as f64).round() as i32 }
}

/// Average of a plane over shards that are divided into groups.
pub(crate) struct Averages {
    /// The sum of the PMFs of each group.
    groups: Vec<Vec<f64>>,
    /// By shard: how far its exponents were shifted.
    pub(crate) shifts: Vec<i32>,
}

impl Averages {
    /// Averages shards; `group_of` has the group of each.
    pub(crate) fn of(shards: &[Weighted<'_>], group_of: &[usize], plane: &Plane) -> Self {
        let symbols = if plane.centred { ZERO + 1 } else { 1 << plane.width };
        let groups = 1 + group_of.iter().max().copied().unwrap_or(0);
        let mut counts = Vec::new();
        let mut shifts = vec![0; shards.len()];
        if plane.centred {
            for (shard, shift) in shards.iter().zip(&mut shifts) {
                shard.counts.unpack(&mut counts);
                *shift = distance(&counts);
            }
        }
        let mut averages = Self { groups: Vec::new(), shifts };
        for _ in 0..ROUNDS {
            averages.groups = vec![vec![0.0; symbols]; groups];
            for (index, shard) in shards.iter().enumerate() {
                shard.counts.unpack(&mut counts);
                if let Some(pmf) = aligned(&counts, averages.shifts[index]) {
                    let weight = shard.shards as f64;
                    let sum = &mut averages.groups[group_of[index]];
                    sum.iter_mut().zip(pmf.probabilities()).for_each(|(sum, p)| *sum += weight * p);
                }
            }
            if !plane.centred || !averages.shift(shards) {
                break;
            }
        }
        averages
    }

    /// Shifts each shard by at most two exponents to where it lies best on the average; whether any was shifted.
    fn shift(&mut self, shards: &[Weighted<'_>]) -> bool {
        let Some(all) = self.all() else { return false };
        // The same for all shards, so that no symbol is impossible.
        let prices: Vec<f64> =
            all.smoothed(SMOOTHING).probabilities().iter().map(|p| -p.log2()).collect();
        let mut counts = Vec::new();
        let mut any = false;
        for (shard, shift) in shards.iter().zip(&mut self.shifts) {
            shard.counts.unpack(&mut counts);
            let bits = |by: i32| -> f64 {
                let place =
                    |symbol: usize| (symbol as i32 + *shift + by).rem_euclid(ZERO as i32) as usize;
                let counted = counts.iter().take(ZERO).enumerate().filter(|(_, count)| **count > 0);
                counted.map(|(symbol, &count)| count as f64 * prices[place(symbol)]).sum()
            };
            let costs = [0, -1, 1, -2, 2].map(|by| (by, bits(by)));
            // 0 first among equals: shards must not wander.
            let best = costs.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((by, _)) = best.filter(|(by, _)| *by != 0) {
                *shift += by;
                any = true;
            }
        }
        any
    }

    /// The average of all shards.
    pub(crate) fn all(&self) -> Option<Pmf> {
        self.sum(|_| true)
    }

    /// The average of all shards but those of a group.
    pub(crate) fn without(&self, group: usize) -> Option<Pmf> {
        self.sum(|other| other != group)
    }

    fn sum(&self, is_in: impl Fn(usize) -> bool) -> Option<Pmf> {
        let mut sum = vec![0.0; self.groups.first()?.len()];
        // Added up anew: a difference would leave rounding errors where nothing was counted.
        for (_, group) in self.groups.iter().enumerate().filter(|(group, _)| is_in(*group)) {
            sum.iter_mut().zip(group).for_each(|(sum, p)| *sum += p);
        }
        Pmf::from_weights(&sum)
    }
}

/// The codebook for an average, as calibration makes it: smoothed, and with 12-bit codes where they make the whole tensor
/// smaller by 0.4 %. `other_bits` are those of a unit that are not symbols of the plane, for each of its symbols.
pub(crate) fn fit(average: &Pmf, plane: &Plane, other_bits: f64, effort: Effort) -> Option<Fitted> {
    let pmf = smoothed(average, plane.centred)?;
    let fit = |limit| {
        let fitted = if plane.centred {
            fit::centred(&pmf, limit, effort)
        } else {
            fit::plain(&pmf, plane.width, limit, effort)
        };
        fitted.ok()
    };
    let (short, long) = (fit(CodeLimit::Bits8)?, fit(CodeLimit::Bits12)?);
    let gain = (short.bits - long.bits) / (short.bits + other_bits).max(f64::MIN_POSITIVE);
    Some(if gain > BITS_12_PAY { long } else { short })
}

fn smoothed(average: &Pmf, centred: bool) -> Option<Pmf> {
    if !centred {
        return Some(average.smoothed(SMOOTHING));
    }
    let (exponents, zero) = average.probabilities().split_at(ZERO);
    let uniform = SMOOTHING / ZERO as f64;
    let mut weights: Vec<f64> = exponents.iter().map(|p| p * (1.0 - SMOOTHING) + uniform).collect();
    weights.extend(zero.iter().map(|&zero| if zero < RARE_ZEROS { 0.0 } else { zero }));
    Pmf::from_weights(&weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::PackedCounts;
    use huffwire::{Dtype, Layout};

    const fn alone(counts: &PackedCounts) -> Weighted<'_> {
        Weighted { counts, shards: 1 }
    }

    fn exponents(first: usize, counts: &[u64]) -> PackedCounts {
        let mut all = vec![0; 257];
        all[first..first + counts.len()].copy_from_slice(counts);
        PackedCounts::new(&all)
    }

    #[test]
    fn shards_of_any_scale_lie_on_each_other() {
        let plane = &Dtype::Bf16.planes(Layout::Exponent)[0];
        let shards = [exponents(100, &[10, 40, 30, 20]), exponents(90, &[1, 4, 3, 2])];
        let averages = Averages::of(&shards.each_ref().map(alone), &[0, 1], plane);
        assert_eq!(averages.shifts[1] - averages.shifts[0], 10);
        let all = averages.all().unwrap();
        assert_eq!(all.probabilities().iter().filter(|p| **p > 0.0).count(), 4);
        assert_eq!(averages.without(0), averages.without(1));
    }

    #[test]
    fn what_is_left_out_leaves_no_trace() {
        let plane = &Dtype::I8.planes(Layout::Bytes)[0];
        let shards = [[1, 2, 0], [0, 3, 1], [7, 0, 0]].map(|few| {
            let mut counts = vec![0; 256];
            counts[..3].copy_from_slice(&few);
            PackedCounts::new(&counts)
        });
        let averages = Averages::of(&shards.each_ref().map(alone), &[0, 1, 0], plane);
        assert_eq!(averages.without(0).unwrap().probabilities()[..3], [0.0, 0.75, 0.25]);
        let first = averages.without(1).unwrap().probabilities()[0];
        assert!((first - (1.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12, "{first}");
        assert_eq!(Averages::of(&[alone(&shards[0])], &[0], plane).without(0), None);
    }

    #[test]
    fn shards_that_were_counted_together_weigh_as_much_as_apart() {
        let plane = &Dtype::Bf16.planes(Layout::Exponent)[0];
        let (one, other) = (exponents(100, &[10, 40, 30, 20]), exponents(90, &[4, 3, 2, 1]));
        let together = [Weighted { counts: &one, shards: 3 }, alone(&other)];
        let apart = [alone(&one), alone(&one), alone(&one), alone(&other)];
        let average = |shards: &[Weighted<'_>]| {
            Averages::of(shards, &vec![0; shards.len()], plane)
                .all()
                .unwrap()
                .probabilities()
                .to_vec()
        };
        for (together, apart) in average(&together).iter().zip(average(&apart)) {
            assert!((together - apart).abs() < 1e-12, "{together} {apart}");
        }
    }

    #[test]
    fn a_book_is_that_of_calibration() {
        use huffwire::calibrate::{Collector, Options, Profile};
        use huffwire::{Codebook, SymbolRule};
        let values = huffwire_testing::Random::new(1).tensor(50_000, -6.0, 0.5);
        let bytes = huffwire_testing::float::to_bf16_bytes(&values);
        for (rule, layout) in
            [(SymbolRule::Auto, Layout::Exponent), (SymbolRule::Bytes, Layout::Bytes)]
        {
            let mut profile = Profile::new(Dtype::Bf16, rule);
            profile.add(&bytes).unwrap();
            let packed = PackedCounts::new(profile.counts(layout, 0).unwrap());
            let plane = &Dtype::Bf16.planes(layout)[0];
            let average = Averages::of(&[alone(&packed)], &[0], plane).all().unwrap();
            let other_bits = if rule == SymbolRule::Auto { 8.0 } else { 0.0 };
            let fitted = fit(&average, plane, other_bits, Effort::Exhaustive).unwrap();
            let mut collector = Collector::new(rule);
            collector.push("x", profile).unwrap();
            let calibration = collector.build(&Options::default()).unwrap();
            assert_eq!(calibration.set.books()[0], Codebook::new(fitted.lengths));
        }
    }
}
