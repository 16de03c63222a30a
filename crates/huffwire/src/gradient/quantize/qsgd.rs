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
        let scale = f64::from(scales[0]);
        let factor = if scale > 0.0 { f64::from(self.levels) / scale } else { 0.0 };
        kernels::round(platform, floats, noise, factor, self.levels, values);
    }

    #[inline]
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    ) {
        let unit = f64::from(scales[0]) / f64::from(self.levels);
        kernels::multiply(platform, values, unit, floats);
    }
}
