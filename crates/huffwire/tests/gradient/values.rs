//! Values for tests.

use huffwire::gradient::Random;

/// Values of QSGD's kind: so many percent zeros, other values the rarer the higher, up to `levels`.
pub(crate) fn qsgd_like(count: usize, zeros: f64, levels: u32, seed: u64) -> Vec<i8> {
    let random = Random::new(seed);
    let value = |i: u64| {
        if random.uniform(3 * i) * 100.0 < zeros {
            return 0;
        }
        let level = 1 + (random.bits(3 * i + 1) | 1 << (levels - 1)).trailing_zeros() as i8;
        if random.bits(3 * i + 2) & 1 == 0 { level } else { -level }
    };
    (0..count as u64).map(value).collect()
}

/// A gradient: floats of both signs whose magnitudes differ a lot.
pub(crate) fn gradient(count: usize, seed: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let float = |i: u64| {
        let sign = if random.bits(2 * i) & 1 == 0 { 1.0 } else { -1.0 };
        (sign * -random.uniform(2 * i + 1).max(1e-12).ln().powi(2) * 1e-3) as f32
    };
    (0..count as u64).map(float).collect()
}
