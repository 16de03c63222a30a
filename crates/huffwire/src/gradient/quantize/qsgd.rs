//! QSGD: stochastic rounding to levels between 0 and the norm of a bucket.

use super::super::values::Value;
use super::{Parts, bad, buckets, check_bucket, largest, round_up};
use crate::error::{Error, Result};
use crate::gradient::Random;

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

    #[inline(always)]
    pub(super) fn quantize(&self, gradient: &[f32], random: Random) -> Result<Parts> {
        self.check()?;
        let levels = f64::from(self.levels);
        let mut values = vec![0; gradient.len()];
        let mut scales = Vec::with_capacity(gradient.len().div_ceil(self.bucket));
        let buckets = gradient.chunks(self.bucket).zip(values.chunks_mut(self.bucket));
        for (bucket, (floats, values)) in buckets.enumerate() {
            let start = bucket.saturating_mul(self.bucket);
            let scale = match self.norm {
                Norm::L2 => {
                    let squares = floats.iter().map(|&float| f64::from(float) * f64::from(float));
                    // The norm is rounded up, so that no level exceeds the highest one.
                    round_up(squares.sum::<f64>().sqrt(), start)?
                }
                Norm::Max => largest(floats),
            };
            let factor = if scale > 0.0 { levels / f64::from(scale) } else { 0.0 };
            for ((index, &float), value) in floats.iter().enumerate().zip(values) {
                let position = f64::from(float.abs()) * factor;
                // The position is not negative, so the cast rounds down.
                let below = position as i32;
                let up = random.uniform((start + index) as u64) < position - f64::from(below);
                let level = (below + i32::from(up)).min(self.levels as i32);
                *value = if float < 0.0 { -level } else { level };
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
            let unit = f64::from(scale[0]) / f64::from(self.levels);
            for &value in values {
                let value: i32 = value.into();
                if value.unsigned_abs() > self.levels {
                    let detail = format!("value {value} of QSGD with {} levels", self.levels);
                    return Err(bad(floats.len(), detail));
                }
                floats.push((unit * f64::from(value)) as f32);
            }
        }
        Ok(())
    }
}
