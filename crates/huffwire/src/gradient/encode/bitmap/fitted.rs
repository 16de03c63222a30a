//! Codebooks fitted to a plane while it is coded.
//!
//! [`plain`](crate::codebook::fit::plain) tries more codebooks, which takes too long here: coding a plane of masks may
//! take less time than six package-merges of 256 symbols.

use crate::codebook::{Alphabet, CodeLimit, Lengths};
use crate::huffman::{huffman_lengths, limited_lengths};
use crate::stats::Histogram;

/// Planes of at least this number of bytes are coded in lanes, whose states cost some bytes.
pub(super) const LANES_FROM: usize = 1 << 13;

/// Planes of fewer bytes are priced by an actual codebook, since limits and escapes matter more there.
const EXACT_BELOW: u64 = 1024;

/// The share that codes of up to 12 bits must save to be used, because they are slower.
const LONG_SAVES: f64 = 0.03;

/// Up to this number of symbols, a codebook with a code for each symbol is tried too.
const FEW_SYMBOLS: usize = 64;

/// Number of bits of a byte behind an escape.
const RAW_BITS: f64 = 8.0;

/// The byte that all bytes of a plane are, if they are all the same.
pub(super) fn only_one(counts: &Histogram) -> Option<u8> {
    let mut values = (0..=255).zip(counts.counts()).filter(|(_, count)| **count > 0);
    let (value, _) = values.next()?;
    values.next().is_none().then_some(value)
}

/// The estimated number of bytes of a coded plane, by which splits are decided. For small planes it is nearly exact.
pub(super) fn price(counts: &Histogram) -> f64 {
    let count = counts.total();
    let total = count as f64;
    if count == 0 || only_one(counts).is_some() {
        return total.min(2.0);
    }
    if count < EXACT_BELOW {
        return match fitted(counts) {
            Some((lengths, bits)) => bytes_with(&lengths, bits, total).min(total),
            None => total,
        };
    }
    let lanes = if count < LANES_FROM as u64 { 0.0 } else { 64.0 };
    let used = counts.counts().iter().rposition(|count| *count > 0).unwrap_or(0);
    // A codebook takes half a byte for each length. An escape makes the rarest code longer by a bit.
    let rarest = counts.counts().iter().filter(|count| **count > 0).min();
    let escape = if is_complete(counts) { 0 } else { rarest.copied().unwrap_or(0) };
    let bits = huffman_bits(counts) + escape;
    (bits as f64 / 8.0 + used as f64 / 2.0 + lanes).min(total)
}

/// Number of bits of an unrestricted Huffman code, without its codebook.
fn huffman_bits(counts: &Histogram) -> u64 {
    let mut weights: Vec<u64> = counts.counts().iter().copied().filter(|w| *w > 0).collect();
    weights.sort_unstable();
    let leaves = weights.len();
    let (mut leaf, mut inner) = (0, leaves);
    let mut bits = 0;
    // Inner nodes come in ascending order, so the lightest of all is at the head of one of two queues.
    for _ in 1..leaves {
        let mut lightest = || {
            let is_leaf =
                leaf < leaves && weights.get(inner).is_none_or(|inner| weights[leaf] <= *inner);
            let queue = if is_leaf { &mut leaf } else { &mut inner };
            *queue += 1;
            weights[*queue - 1]
        };
        let both = lightest() + lightest();
        weights.push(both);
        bits += both;
    }
    bits
}

/// Whether the bytes that occur are exactly all numbers of some width in bits.
fn is_complete(counts: &Histogram) -> bool {
    let used = counts.counts().iter().take_while(|count| **count > 0).count();
    used > 1 && used.is_power_of_two() && counts.counts()[used..].iter().all(|count| *count == 0)
}

/// The bytes of a plane of `total` bytes that take `bits` each, and of its codebook.
pub(super) fn bytes_with(lengths: &Lengths, bits: f64, total: f64) -> f64 {
    let mut codebook = Vec::new();
    lengths.write(&mut codebook);
    total * bits / 8.0 + codebook.len() as f64
}

/// A codebook for a plane with these counts, and its bits per byte. A codebook of less than 8 bits cannot code all
/// bytes.
pub(super) fn fitted(counts: &Histogram) -> Option<(Lengths, f64)> {
    let total = counts.total() as f64;
    // Where every number of so many bits occurs, none needs an escape. An escape takes code space of the rarest
    // symbol, which costs much where there are few symbols: half a bit a symbol where there are two.
    let used = counts.counts().iter().rposition(|count| *count > 0)? + 1;
    let complete = is_complete(counts);
    let width = if complete { used.ilog2() as u8 } else { 8 };
    let mut heaviest: Vec<(u64, u8)> =
        counts.counts().iter().copied().zip(0..=255).filter(|(count, _)| *count > 0).collect();
    heaviest.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let best = |limit| best_lengths(&heaviest, total, width, complete, limit);
    let short = best(CodeLimit::Bits8)?;
    // A code of up to 12 bits is never shorter than an unrestricted one.
    if short.1 * (1.0 - LONG_SAVES) > huffman_bits(counts) as f64 / total
        && let Some(long) = best(CodeLimit::Bits12)
        && long.1 < short.1 * (1.0 - LONG_SAVES)
    {
        return Some(long);
    }
    Some(short)
}

/// The best of up to three codebooks, which differ in the symbols that take the escape.
fn best_lengths(
    heaviest: &[(u64, u8)],
    total: f64,
    width: u8,
    complete: bool,
    limit: CodeLimit,
) -> Option<(Lengths, f64)> {
    let all = heaviest.len();
    let smallest = total * 0.5f64.powi(i32::from(limit.bits()));
    let at_least = |weight: f64| heaviest.partition_point(|(count, _)| *count as f64 >= weight);
    let mut tried = [0; 3];
    let mut best: Option<(Lengths, f64)> = None;
    let few = if all <= FEW_SYMBOLS { all } else { 0 };
    for (place, direct) in
        [few, at_least(smallest), at_least(smallest / 4.0)].into_iter().enumerate()
    {
        if direct == 0 || tried.contains(&direct) {
            continue;
        }
        tried[place] = direct;
        let escapes = !(complete && direct == all);
        let (chosen, rare) = heaviest.split_at(direct);
        let escaped: u64 = rare.iter().map(|(count, _)| count).sum();
        // An escape that does not occur still needs a code.
        let escape = escapes.then_some((escaped as f64).max(f64::MIN_POSITIVE));
        let weights: Vec<f64> =
            chosen.iter().map(|(count, _)| *count as f64).chain(escape).collect();
        let mut lengths = huffman_lengths(&weights);
        if lengths.iter().any(|length| *length > limit.bits()) {
            let Some(limited) = limited_lengths(&weights, limit.bits()) else { continue };
            lengths = limited;
        }
        let pairs = weights.iter().zip(&lengths);
        let bits: f64 = pairs.map(|(weight, length)| weight * f64::from(*length)).sum();
        let bits = (bits + escaped as f64 * RAW_BITS) / total;
        if best.as_ref().is_some_and(|best| best.1 <= bits) {
            continue;
        }
        let mut by_symbol = vec![0; 1 << width];
        for ((_, symbol), length) in chosen.iter().zip(&lengths) {
            by_symbol[usize::from(*symbol)] = *length;
        }
        let escape = if escapes { lengths[direct] } else { 0 };
        let alphabet = Alphabet::Plain { width };
        if let Ok(lengths) = Lengths::new(alphabet, limit, &by_symbol, escape, 0) {
            best = Some((lengths, bits));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::fit::{Effort, plain};
    use crate::gradient::Random;

    /// Masks of eight values that are not 0 with some probability, and other shapes.
    fn histograms() -> Vec<Histogram> {
        let random = Random::new(3);
        let masks = |share: f64, count: u64, seed: u64| {
            let bit = |i: u64, j: u64| u8::from(random.uniform(seed + 8 * i + j) < share) << j;
            let bytes: Vec<u8> = (0..count).map(|i| (0..8).map(|j| bit(i, j)).sum()).collect();
            Histogram::of(&bytes)
        };
        let mut all = vec![Histogram::of(&[1, 2]), Histogram::of(&[0, 255, 255])];
        for (seed, share) in [0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 0.99].into_iter().enumerate() {
            for count in [20, 600, 5000, 60_000] {
                all.push(masks(share, count, seed as u64 * 1_000_003));
            }
        }
        let powers = std::array::from_fn(|i| 1u64 << (40 - i.min(40)));
        all.push(Histogram::from_counts(powers));
        all.push(Histogram::from_counts([7; 256]));
        all.push(Histogram::from_counts(std::array::from_fn(|i| u64::from(i < 16) * 9)));
        all
    }

    #[test]
    fn books_made_in_a_hurry_are_nearly_as_good_as_those_made_with_care() {
        for counts in histograms() {
            let pmf = counts.pmf().unwrap();
            let (lengths, bits) = fitted(&counts).unwrap();
            let best = [CodeLimit::Bits8, CodeLimit::Bits12]
                .map(|limit| plain(&pmf, 8, limit, Effort::Exhaustive).unwrap().bits);
            let limit = usize::from(lengths.limit() == CodeLimit::Bits12);
            assert!(bits <= best[limit] * 1.01 + 1e-9, "{bits} of {best:?}: {counts:?}");
            assert!(bits * (1.0 - LONG_SAVES) <= best[1] * 1.01 || limit == 1);
            assert!(
                (pmf.huffman_bits() * counts.total() as f64 - huffman_bits(&counts) as f64).abs()
                    < 1.0
            );
        }
    }
}
