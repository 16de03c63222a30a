//! Histograms, probability mass functions, and what they say about compressibility.
//!
//! These are the measures of Agrawal et al. (arXiv 2601.10673, section 3): Shannon entropy bounds every
//! code, a Huffman code built from the data comes within a fraction of a bit of it, and a fixed code
//! costs the KL divergence on top. All sizes are in bits per symbol.

use crate::huffman;
use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// How often each of 256 byte symbols occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; 256],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; 256] }
    }
}

impl Histogram {
    /// Counts every byte of `symbols`.
    #[must_use]
    pub fn of(symbols: &[u8]) -> Self {
        let mut histogram = Self::default();
        histogram.add(symbols);
        histogram
    }

    /// A histogram with these counts.
    #[must_use]
    pub const fn from_counts(counts: [u64; 256]) -> Self {
        Self { counts }
    }

    /// Counts every byte of `symbols` on top of what was counted before.
    pub fn add(&mut self, symbols: &[u8]) {
        for piece in symbols.chunks(1 << 24) {
            let counts = bytes::histogram(Platform::detect(), piece);
            for (count, part) in self.counts.iter_mut().zip(counts) {
                *count += u64::from(part);
            }
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// The counts, indexed by symbol.
    #[must_use]
    pub const fn counts(&self) -> &[u64; 256] {
        &self.counts
    }

    /// The number of symbols counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The PMF of the counted symbols; `None` when nothing was counted.
    #[must_use]
    pub fn pmf(&self) -> Option<Pmf> {
        Pmf::from_weights(&self.counts.map(|count| count as f64))
    }
}

/// A probability mass function over up to 257 symbols; its probabilities sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Pmf {
    p: Vec<f64>,
}

impl Pmf {
    /// Scales non-negative finite weights to sum 1; `None` when they are no weights of a PMF
    /// (negative, not finite, or all zero).
    #[must_use]
    pub fn from_weights(weights: &[f64]) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        let valid = weights.iter().all(|&w| w >= 0.0) && total.is_finite() && total > 0.0;
        valid.then(|| Self { p: weights.iter().map(|w| w / total).collect() })
    }

    /// The mean of several PMFs over the same symbols, each counting alike whatever the size of the
    /// shard it came from (Agrawal et al., section 3.2). `None` when there are none or they differ in size.
    #[must_use]
    pub fn average<'a>(pmfs: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut pmfs = pmfs.into_iter();
        let mut sum = pmfs.next()?.p.clone();
        for pmf in pmfs {
            if pmf.p.len() != sum.len() {
                return None;
            }
            for (s, p) in sum.iter_mut().zip(&pmf.p) {
                *s += p;
            }
        }
        Self::from_weights(&sum)
    }

    /// Moves the share `epsilon` of the mass to a uniform distribution, so that no symbol is
    /// impossible.
    #[must_use]
    pub fn smoothed(&self, epsilon: f64) -> Self {
        let uniform = epsilon / self.p.len() as f64;
        Self { p: self.p.iter().map(|p| p * (1.0 - epsilon) + uniform).collect() }
    }

    /// The probabilities, indexed by symbol.
    #[must_use]
    pub fn probabilities(&self) -> &[f64] {
        &self.p
    }

    /// Shannon entropy, in bits per symbol.
    ///
    /// ```
    /// # use huffwire::stats::Pmf;
    /// let fair = Pmf::from_weights(&[1.0, 1.0, 1.0, 1.0]).unwrap();
    /// assert_eq!(fair.entropy(), 2.0);
    /// ```
    #[must_use]
    pub fn entropy(&self) -> f64 {
        // Subtracted, not negated: -0.0 would be a strange entropy.
        0.0 - self.p.iter().filter(|&&p| p > 0.0).map(|p| p * p.log2()).sum::<f64>()
    }

    /// Kullback-Leibler divergence `D(self || model)`, in bits: what an ideal code for `model`
    /// spends on top of the entropy when the data follow `self`. Infinite where the model rules
    /// out a symbol that occurs.
    #[must_use]
    pub fn kl_divergence(&self, model: &Self) -> f64 {
        let term = |(i, &p): (usize, &f64)| match model.p.get(i) {
            _ if p == 0.0 => 0.0,
            Some(&q) if q > 0.0 => p * (p / q).log2(),
            _ => f64::INFINITY,
        };
        self.p.iter().enumerate().map(term).sum()
    }

    /// Mean code length of an unrestricted Huffman code built from this very PMF, in bits per
    /// symbol: the per-shard Huffman of Agrawal et al., its codebook not counted. A PMF with a single
    /// symbol costs 0 bits.
    #[must_use]
    pub fn huffman_bits(&self) -> f64 {
        huffman::huffman_bits(&self.p)
    }

    /// Ideal compressibility (Agrawal et al., section 3): percent saved by a perfect code for this PMF on
    /// symbols of `raw_bits` bits.
    ///
    /// ```
    /// # use huffwire::stats::Pmf;
    /// let pmf = Pmf::from_weights(&[2.0, 1.0, 1.0, 0.0]).unwrap();
    /// assert_eq!(pmf.ideal_compressibility(2.0), 25.0);
    /// ```
    #[must_use]
    pub fn ideal_compressibility(&self, raw_bits: f64) -> f64 {
        saving_percent(raw_bits, self.entropy())
    }

    /// Percent saved by a Huffman code made from this very PMF, its codebook not counted, on symbols
    /// of `raw_bits` bits.
    #[must_use]
    pub fn huffman_compressibility(&self, raw_bits: f64) -> f64 {
        saving_percent(raw_bits, self.huffman_bits())
    }
}

/// The share saved, in percent, when `coded` stands for `raw` (bytes, or bits per symbol).
///
/// Agrawal et al. call it compressibility. Negative when the coded form is larger; 0 for empty input.
///
/// ```
/// # use huffwire::stats::saving_percent;
/// assert_eq!(saving_percent(200.0, 150.0), 25.0);
/// ```
#[must_use]
pub fn saving_percent(raw: f64, coded: f64) -> f64 {
    if raw == 0.0 { 0.0 } else { 100.0 * (1.0 - coded / raw) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_everything_once() {
        let symbols: Vec<u8> = (0..10_007u32).map(|i| (i * i % 251) as u8).collect();
        let histogram = Histogram::of(&symbols);
        assert_eq!(histogram.total(), 10_007);
        for symbol in 0..=255u8 {
            let expected = symbols.iter().filter(|&&s| s == symbol).count() as u64;
            assert_eq!(histogram.counts()[usize::from(symbol)], expected);
        }
    }

    #[test]
    fn entropy_is_below_huffman_which_is_within_one_bit() {
        let certain = Pmf::from_weights(&[0.0, 1.0]).unwrap();
        assert_eq!(certain.entropy().to_bits(), 0);
        let pmf = Pmf::from_weights(&[0.5, 0.2, 0.15, 0.1, 0.05, 0.0]).unwrap();
        let (entropy, huffman) = (pmf.entropy(), pmf.huffman_bits());
        assert!(entropy <= huffman && huffman < entropy + 1.0, "{entropy} {huffman}");
        assert!((huffman - 1.95).abs() < 1e-12, "{huffman}");
    }

    #[test]
    fn kl_divergence_is_zero_on_itself_and_infinite_on_the_impossible() {
        let a = Pmf::from_weights(&[0.5, 0.5, 0.0]).unwrap();
        let b = Pmf::from_weights(&[0.5, 0.0, 0.5]).unwrap();
        assert_eq!(a.kl_divergence(&a), 0.0);
        assert_eq!(a.kl_divergence(&b), f64::INFINITY);
        assert!(a.kl_divergence(&b.smoothed(0.01)).is_finite());
    }

    #[test]
    fn average_weighs_shards_alike() {
        let small = Histogram::of(&[0]).pmf().unwrap();
        let large = Histogram::of(&[1; 1000]).pmf().unwrap();
        let average = Pmf::average([&small, &large]).unwrap();
        assert_eq!(&average.probabilities()[..2], &[0.5, 0.5]);
    }

    #[test]
    fn what_is_no_pmf_is_refused() {
        assert_eq!(Pmf::from_weights(&[0.0, 0.0]), None);
        assert_eq!(Pmf::from_weights(&[1.0, -1.0, 3.0]), None);
        assert_eq!(Pmf::from_weights(&[f64::NAN]), None);
        assert_eq!(Histogram::default().pmf(), None);
        assert_eq!(Pmf::average([]), None);
    }
}
