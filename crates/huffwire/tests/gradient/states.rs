//! Gradients for tests.

use huffwire::gradient::Random;

/// A gradient: values of both signs whose magnitudes differ a lot.
pub(crate) fn gradient(count: usize, seed: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let value = |i: u64| {
        let sign = if random.bits(2 * i) & 1 == 0 { 1.0 } else { -1.0 };
        (sign * -random.uniform(2 * i + 1).max(1e-12).ln().powi(2) * 1e-3) as f32
    };
    (0..count as u64).map(value).collect()
}
