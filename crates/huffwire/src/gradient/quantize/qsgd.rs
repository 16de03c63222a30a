//! QSGD: stochastic rounding to levels between 0 and the norm of a bucket.

use super::buckets::{Bucket, Rounding};
use super::{check_bucket, round_up};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::kernels::quantize::{self as kernels, Number, total};

/// The largest number of levels of QSGD.
pub const MAX_LEVELS: u32 = 1 << 30;

/// The norm by which QSGD divides a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Norm {
    /// The Euclidean norm, as in the analysis of Alistarh et al. (2017).
    #[default]
    L2,
    /// The largest magnitude, as in the experiments of Alistarh et al. (2017), section 4. Its error is smaller.
    Max,
}

/// QSGD (Alistarh et al., NIPS 2017, section 3.1): a float `v` becomes `‖v‖ · sgn(v) · ξ`, where `ξ` is one of
/// the levels `0, 1/s, … 1` next to `|v| / ‖v‖`, drawn so that its mean is right.
///
/// The quantized value is `sgn(v) · ξ · s`. `E[Q(v)] = v` and
/// `E‖Q(v) - v‖² ≤ min(d / s², √d / s) ‖v‖²` for buckets of `d` elements and the Euclidean norm (lemma 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Qsgd {
    /// Number of levels above 0, `s`: 1 to [`MAX_LEVELS`]. With up to 127, values fit a byte.
    pub levels: u32,
    /// Number of consecutive elements that share a norm; [`WHOLE`](super::WHOLE) for all.
    pub bucket: usize,
    /// The norm.
    pub norm: Norm,
}

impl Default for Qsgd {
    /// 4 bits and buckets of 512, as in the experiments of Alistarh et al. (2017).
    fn default() -> Self {
        Self { levels: 7, bucket: 512, norm: Norm::L2 }
    }
}

impl Qsgd {
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=MAX_LEVELS).contains(&self.levels) {
            let detail = format!("{} levels; QSGD takes 1 to {MAX_LEVELS}", self.levels);
            return Err(Error::option(detail));
        }
        check_bucket(self.bucket)
    }

    /// Levels in a float of 1 where the norm is `scale`; 0 where it is 0.
    fn factor(&self, scale: f32) -> f64 {
        if scale > 0.0 { f64::from(self.levels) / f64::from(scale) } else { 0.0 }
    }

    /// What a level stands for.
    fn unit(&self, scale: f32) -> f64 {
        f64::from(scale) / f64::from(self.levels)
    }
}

impl Rounding for Qsgd {
    const IS_RANDOM: bool = true;

    fn bucket(&self) -> usize {
        self.bucket
    }

    fn highest(&self) -> u32 {
        self.levels
    }

    fn measure(&self, bucket: &mut Bucket<'_>, scales: &mut Vec<f32>) -> Result<()> {
        scales.push(match self.norm {
            Norm::L2 => {
                let moments = bucket.moments(0.0)?.1;
                // The norm is rounded up, so that no level exceeds the highest one.
                round_up(total(&moments.squares).sqrt(), bucket.start())?
            }
            Norm::Max => bucket.visit(|_| ())?,
        });
        Ok(())
    }

    #[inline]
    fn round<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        floats: &[f32],
        noise: &[u32],
        values: &mut [N],
    ) {
        kernels::round(platform, floats, noise, self.factor(scales[0]), self.levels, values);
    }

    #[inline]
    fn round_and_restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        floats: &[f32],
        noise: &[u32],
        values: &mut [N],
        sent: &mut [f32],
    ) {
        let scaling = (self.factor(scales[0]), self.levels, self.unit(scales[0]));
        kernels::round_and_restore(platform, floats, noise, scaling, values, sent);
    }

    #[inline]
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    ) {
        kernels::multiply(platform, values, self.unit(scales[0]), floats);
    }
}
