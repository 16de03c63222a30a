//! A small seeded generator, so that a run can be repeated bit for bit.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose whole sequence is set by `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number in `0..bound`, or 0 where that range is empty.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // Multiply and shift; the bias of at most bound / 2^64 does not matter here.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number strictly between 0 and 1.
    fn uniform(&mut self) -> f32 {
        // 23 random bits and a half are exact in an f32 and keep clear of both ends.
        ((self.next() >> 41) as f32 + 0.5) / (1_u32 << 23) as f32
    }

    /// A standard normal number, by the Box-Muller transform.
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        let mut rng = SplitMix64::new(1_234_567);
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([rng.next(), rng.next(), rng.next()], expected);
    }

    #[test]
    fn normal_numbers_have_zero_mean_and_unit_variance() {
        let mut rng = SplitMix64::new(7);
        let sample: Vec<f32> = (0..100_000).map(|_| rng.normal()).collect();
        let count = sample.len() as f32;
        let mean = sample.iter().sum::<f32>() / count;
        let variance = sample.iter().map(|x| x * x).sum::<f32>() / count;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn below_stays_below() {
        let mut rng = SplitMix64::new(7);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }
}
