//! Random numbers for stochastic rounding, the same on every machine.

use crate::kernels::quantize::hash;

/// Random numbers by their index, from SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014). The n-th number is a hash of the seed and n.
///
/// So the rounding of an element depends on the seed and on the element's place alone, not on how a tensor was
/// cut up. The numbers are not for cryptography.
///
/// ```
/// use huffwire::gradient::Random;
///
/// let random = Random::new(1);
/// assert_eq!(random.bits(0), 0x910a_2dec_8902_5cc1);
/// assert!((0..1000).all(|i| (0.0..1.0).contains(&random.uniform(i))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// The random numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 random bits, those at `index`.
    #[must_use]
    #[inline]
    pub const fn bits(self, index: u64) -> u64 {
        hash(self.seed, index)
    }

    /// A random multiple of 2⁻⁵³ in `[0, 1)`.
    #[must_use]
    #[inline]
    pub const fn uniform(self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A random number below `limit`, which must not be 0. Each number has the same probability to within
    /// 2⁻⁶⁴ × `limit`.
    #[must_use]
    #[inline]
    pub const fn below(self, index: u64, limit: u64) -> u64 {
        ((self.bits(index) as u128 * limit as u128) >> 64) as u64
    }
}
