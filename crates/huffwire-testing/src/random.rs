//! Random numbers.

/// Generator of random numbers: SplitMix64 (Steele, Lea and Flood: *Fast splittable pseudorandom number
/// generators*, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose whole sequence is given by `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A whole number below `limit`, which must not be 0.
    pub const fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// A number from 0 up to, but not including, 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the standard normal distribution, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `count` values as weights and gradients have them: normal, at scales that are `2^octave` in the
    /// middle and differ by `spread` octaves (standard deviation) from value to value.
    #[must_use]
    pub fn tensor(&mut self, count: usize, octave: f64, spread: f64) -> Vec<f32> {
        let value = |_| {
            let scale = f64::exp2(octave + spread * self.normal());
            (self.normal() * scale) as f32
        };
        (0..count).map(value).collect()
    }
}

/// `count` random bytes, given by `seed`.
#[must_use]
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.bits() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.bits(), random.bits(), random.bits()], expected);
    }

    #[test]
    fn normal_numbers_have_zero_mean_and_unit_variance() {
        let mut random = Random::new(7);
        let sample: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = sample.iter().sum::<f64>() / 1e5;
        let variance = sample.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn tensors_have_the_scale_asked_for() {
        let values = Random::new(7).tensor(10_001, -6.0, 0.5);
        let mut octaves: Vec<f32> = values.iter().map(|value| value.abs().log2()).collect();
        octaves.sort_by(f32::total_cmp);
        // The median magnitude of a normal number is 0.674, which lies 0.57 octaves below 1.
        assert!((octaves[5000] + 6.57).abs() < 0.1, "{}", octaves[5000]);
    }
}
