//! TernGrad: a sign or 0.

use super::buckets::{Bucket, Rounding};
use super::{WHOLE, check_bucket};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::kernels::quantize::{self as kernels, Number, total};

/// TernGrad (Wen et al., NIPS 2017): a float `g` becomes `s · sgn(g)` with the probability `|g| / s`, else 0, where `s`
/// is the largest magnitude (section 3.1). Before that, floats beyond `c` standard deviations are clipped to `c` standard
/// deviations (section 3.3), so that a few outliers do not decide `s`. Floats that are all equal have no outliers and
/// are not clipped; the formula would clip them to 0.
///
/// `E[Q(g)]` is the clipped gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TernGrad {
    /// Number of standard deviations to clip at, `c`; `None` to clip nothing.
    pub clip: Option<f32>,
    /// Number of consecutive elements that share a scale; [`WHOLE`] for one scale a tensor, as in Wen et al. (2017).
    pub bucket: usize,
}

impl Default for TernGrad {
    /// `c = 2.5` as in Wen et al. (2017), and one scale.
    fn default() -> Self {
        Self { clip: Some(2.5), bucket: WHOLE }
    }
}

impl TernGrad {
    pub(super) fn check(&self) -> Result<()> {
        if self.clip.is_some_and(|clip| !(clip > 0.0 && clip.is_finite())) {
            return Err(Error::option("TernGrad clips at a positive number of deviations"));
        }
        check_bucket(self.bucket)
    }
}

impl Rounding for TernGrad {
    const IS_RANDOM: bool = true;

    fn bucket(&self) -> usize {
        self.bucket
    }

    fn highest(&self) -> u32 {
        1
    }

    fn measure(&self, bucket: &mut Bucket<'_>, scales: &mut Vec<f32>) -> Result<()> {
        let Some(clip) = self.clip else {
            scales.push(bucket.visit(|_| ())?);
            return Ok(());
        };
        // Around a float of the bucket the sums keep their precision, and are 0 if all floats are equal.
        let (largest, moments) = {
            let pivot = bucket.first();
            bucket.moments(pivot)?
        };
        let count = bucket.len() as f64;
        let (sum, squares) = (total(&moments.sum), total(&moments.squares));
        scales.push(if squares == 0.0 {
            largest
        } else {
            let deviation = ((squares - sum * (sum / count)).max(0.0) / count).sqrt();
            // Rounding to f32 cannot overflow: it is at most the largest float.
            (f64::from(clip) * deviation).min(f64::from(largest)) as f32
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
        let factor = if scales[0] > 0.0 { 1.0 / f64::from(scales[0]) } else { 0.0 };
        kernels::round(platform, floats, noise, factor, 1, values);
    }

    #[inline]
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    ) {
        kernels::multiply(platform, values, scales[0].into(), floats);
    }
}
