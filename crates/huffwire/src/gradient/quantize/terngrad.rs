//! TernGrad: a sign or nothing.

use super::super::states::State;
use super::{Parts, WHOLE, bad, buckets, check_bucket, largest};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// TernGrad (Wen et al., NIPS 2017): a value becomes `s · sgn(g)` with the probability `|g| / s`, else 0;
/// `s` is the largest magnitude (section 3.1). Before that, values beyond `c` standard deviations are
/// clipped to them (section 3.3), since `s` would else be that of a few outliers. Values that are all alike
/// have no outliers, and are not clipped (to 0, as the formula would have it).
///
/// `E[Q(g)]` is the clipped gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TernGrad {
    /// Standard deviations to clip at, the paper's `c`; `None` to clip nothing.
    pub clip: Option<f32>,
    /// Elements that share a scale; [`WHOLE`] for all, one scale a layer, as in the paper.
    pub bucket: usize,
}

impl Default for TernGrad {
    /// The paper's `c = 2.5`, one scale.
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
        let mut states = vec![0; gradient.len()];
        let mut scales = Vec::new();
        let buckets = gradient.chunks(self.bucket).zip(states.chunks_mut(self.bucket));
        for (bucket, (values, states)) in buckets.enumerate() {
            let largest = largest(values);
            let scale = match self.clip {
                Some(clip) if values.iter().any(|value| *value != values[0]) => {
                    // Rounding to f32 cannot overflow: it is at most the largest value.
                    (f64::from(clip) * deviation(values)).min(f64::from(largest)) as f32
                }
                _ => largest,
            };
            let start = bucket.saturating_mul(self.bucket);
            let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
            for ((index, &value), state) in values.iter().enumerate().zip(states) {
                let probability = f64::from(value.abs()) * inverse;
                let taken = i32::from(random.uniform((start + index) as u64) < probability);
                *state = if value < 0.0 { -taken } else { taken };
            }
            scales.push(scale);
        }
        Ok((states, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: State>(
        &self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        for (states, scale) in buckets(states, self.bucket, scales, 1)? {
            for &state in states {
                let state: i32 = state.into();
                if !(-1..=1).contains(&state) {
                    return Err(bad(values.len(), format!("state {state} of TernGrad")));
                }
                values.push(scale[0] * state as f32);
            }
        }
        Ok(())
    }
}

/// The standard deviation of the values.
#[inline(always)]
fn deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares = values.iter().map(|&value| (f64::from(value) - mean).powi(2));
    (squares.sum::<f64>() / count).sqrt()
}
