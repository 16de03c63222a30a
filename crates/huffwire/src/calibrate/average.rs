//! Averages of the PMFs of shards, and groups of similar shards, each of which gets a book of its own.

use super::profile::ZERO;
use crate::codebook::Codebook;
use crate::stats::Pmf;

/// Where the mean exponent of a shard is put before averaging.
const CENTRE: usize = 128;
/// Zeros rarer than this get no code of their own: it would cost all other symbols more than the
/// zeros would save.
const RARE_ZEROS: f64 = 1.0 / 512.0;
/// Rounds of assigning and averaging; the groups are stable long before.
const ROUNDS: usize = 12;

/// PMF of a shard; for exponents shifted so that it lies on its cluster's average.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    p: Vec<f64>,
    centred: bool,
    cluster: usize,
}

/// Shards that look alike.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    average: Pmf,
}

impl Cluster {
    /// The smoothed average of its shards.
    pub(super) const fn pmf(&self) -> &Pmf {
        &self.average
    }
}

impl Shard {
    pub(super) fn new(pmf: &Pmf, centred: bool) -> Self {
        let mut shard = Self { p: pmf.probabilities().to_vec(), centred, cluster: 0 };
        if centred {
            let mass: f64 = shard.p[..ZERO].iter().sum();
            let moment: f64 = shard.p[..ZERO].iter().enumerate().map(|(e, p)| e as f64 * p).sum();
            let mean = if mass > 0.0 { (moment / mass).round() as usize } else { CENTRE };
            shard.shift(CENTRE as isize - mean as isize);
        }
        shard
    }

    /// Moves exponents up, modulo 256; the zero stays.
    fn shift(&mut self, by: isize) {
        if by == 0 {
            return;
        }
        self.p[..ZERO].rotate_right(by.rem_euclid(ZERO as isize) as usize);
    }

    /// Bits per symbol under an ideal code for `average` when the shard is shifted by `by`.
    fn cross_entropy(&self, average: &Pmf, by: isize) -> f64 {
        let q = average.probabilities();
        let term = |(symbol, &p): (usize, &f64)| {
            let at = match symbol {
                ZERO => ZERO,
                symbol if self.centred => (symbol as isize + by).rem_euclid(ZERO as isize) as usize,
                symbol => symbol,
            };
            if p > 0.0 { -p * q[at].max(f64::MIN_POSITIVE).log2() } else { 0.0 }
        };
        self.p.iter().enumerate().map(term).sum()
    }

    fn best_shift(&self, average: &Pmf) -> (f64, isize) {
        let shifts = if self.centred { -2..=2 } else { 0..=0 };
        let costs = shifts.map(|by| (self.cross_entropy(average, by), by));
        // 0 first among equals: shards must not wander.
        costs.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.abs().cmp(&b.1.abs()))).unwrap_or_default()
    }

    /// Bits per symbol that a book spends on this shard, at the base nearest to `base` that suits it
    /// best.
    pub(super) fn bits(&self, book: &Codebook, base: u8) -> f64 {
        let Some(pmf) = Pmf::from_weights(&self.p) else { return 0.0 };
        let shifts = if self.centred { -2..=2 } else { 0..=0 };
        let at = |shift| book.mean_bits(&pmf, base.wrapping_add_signed(shift));
        shifts.map(at).fold(f64::INFINITY, f64::min)
    }
}

/// Groups the shards into at most `count` clusters (k-means under KL divergence, started from equal
/// shares in the order of their entropies) and shifts each onto the average of its cluster.
pub(super) fn clusters(shards: &mut [Shard], count: usize, smoothing: f64) -> Vec<Cluster> {
    let count = count.clamp(1, shards.len().max(1));
    let entropy = |shard: &Shard| Pmf::from_weights(&shard.p).map_or(0.0, |pmf| pmf.entropy());
    let mut order: Vec<usize> = (0..shards.len()).collect();
    order.sort_by(|&a, &b| entropy(&shards[a]).total_cmp(&entropy(&shards[b])));
    for (rank, &index) in order.iter().enumerate() {
        shards[index].cluster = rank * count / shards.len();
    }
    let mut clusters = averages(shards, count, smoothing);
    for _ in 0..ROUNDS {
        let mut moved = false;
        for shard in shards.iter_mut() {
            let fits = clusters.iter().enumerate().map(|(i, c)| (shard.best_shift(&c.average), i));
            let best = fits.min_by(|a, b| a.0.0.total_cmp(&b.0.0));
            let Some(((_, by), cluster)) = best else {
                continue;
            };
            moved |= by != 0 || cluster != shard.cluster;
            shard.shift(by);
            shard.cluster = cluster;
        }
        if !moved {
            break;
        }
        clusters = averages(shards, count, smoothing);
    }
    clusters
}

/// The averages of the clusters that have shards; renumbers the shards' clusters.
fn averages(shards: &mut [Shard], count: usize, smoothing: f64) -> Vec<Cluster> {
    let mut clusters = Vec::with_capacity(count);
    for cluster in 0..count {
        let members = || shards.iter().filter(|shard| shard.cluster == cluster);
        let pmfs: Vec<Pmf> = members().filter_map(|shard| Pmf::from_weights(&shard.p)).collect();
        let Some(average) = Pmf::average(&pmfs) else {
            continue;
        };
        let centred = members().any(|shard| shard.centred);
        let number = clusters.len();
        clusters.push(Cluster { average: smoothed(&average, centred, smoothing) });
        shards.iter_mut().filter(|s| s.cluster == cluster).for_each(|s| s.cluster = number);
    }
    clusters
}

fn smoothed(average: &Pmf, centred: bool, smoothing: f64) -> Pmf {
    if !centred {
        return average.smoothed(smoothing);
    }
    let p = average.probabilities();
    let (exponents, zero) = (&p[..ZERO], p[ZERO]);
    let zero = if zero < RARE_ZEROS { 0.0 } else { zero };
    let uniform = smoothing / ZERO as f64;
    let mut weights: Vec<f64> = exponents.iter().map(|p| p * (1.0 - smoothing) + uniform).collect();
    weights.push(zero);
    Pmf::from_weights(&weights).unwrap_or_else(|| average.clone())
}

/// Mean KL divergence of the shards from the averages of their clusters, in bits.
pub(super) fn mean_kl(shards: &[Shard], clusters: &[Cluster]) -> f64 {
    let kl = shards.iter().filter_map(|shard| {
        let pmf = Pmf::from_weights(&shard.p)?;
        let average = &clusters.get(shard.cluster)?.average;
        Some(shard.cross_entropy(average, 0) - pmf.entropy())
    });
    kl.sum::<f64>() / shards.len().max(1) as f64
}
