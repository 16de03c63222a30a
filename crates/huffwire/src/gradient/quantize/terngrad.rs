//! TernGrad: a sign or 0.

use super::super::values::Value;
use super::{Parts, WHOLE, bad, buckets, check_bucket, largest};
use crate::error::{Error, Result};
use crate::gradient::Random;

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

    #[inline(always)]
    pub(super) fn quantize(&self, gradient: &[f32], random: Random) -> Result<Parts> {
        self.check()?;
        let mut values = vec![0; gradient.len()];
        let mut scales = Vec::new();
        let buckets = gradient.chunks(self.bucket).zip(values.chunks_mut(self.bucket));
        for (bucket, (floats, values)) in buckets.enumerate() {
            let largest = largest(floats);
            let scale = match self.clip {
                Some(clip) if floats.iter().any(|float| *float != floats[0]) => {
                    // Rounding to f32 cannot overflow: it is at most the largest float.
                    (f64::from(clip) * deviation(floats)).min(f64::from(largest)) as f32
                }
                _ => largest,
            };
            let start = bucket.saturating_mul(self.bucket);
            let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
            for ((index, &float), value) in floats.iter().enumerate().zip(values) {
                let probability = f64::from(float.abs()) * inverse;
                let taken = i32::from(random.uniform((start + index) as u64) < probability);
                *value = if float < 0.0 { -taken } else { taken };
            }
            scales.push(scale);
        }
        Ok((values, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: Value>(
        &self,
        values: &[S],
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        for (values, scale) in buckets(values, self.bucket, scales, 1)? {
            for &value in values {
                let value: i32 = value.into();
                if !(-1..=1).contains(&value) {
                    return Err(bad(floats.len(), format!("value {value} of TernGrad")));
                }
                floats.push(scale[0] * value as f32);
            }
        }
        Ok(())
    }
}

/// The standard deviation of the floats.
#[inline(always)]
fn deviation(floats: &[f32]) -> f64 {
    let count = floats.len() as f64;
    let mean = floats.iter().map(|&float| f64::from(float)).sum::<f64>() / count;
    let squares = floats.iter().map(|&float| (f64::from(float) - mean).powi(2));
    (squares.sum::<f64>() / count).sqrt()
}
