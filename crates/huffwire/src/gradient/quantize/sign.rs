//! One bit an element.

use super::super::states::State;
use super::{Parts, WHOLE, bad, buckets, check_bucket};
use crate::error::Result;

/// What the two signs stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SignScale {
    /// `±1`: signSGD (Bernstein et al., ICML 2018).
    One,
    /// `±` the mean magnitude: EF-signSGD (Karimireddy et al., ICML 2019, section 4), whose error is
    /// `‖C(v) - v‖² = (1 - ‖v‖₁² / (d ‖v‖₂²)) ‖v‖₂²` (lemma 8).
    #[default]
    Mean,
    /// The mean of what is not negative, and that of what is: 1-bit SGD (Seide et al., Interspeech 2014),
    /// the two values with the least error.
    Means,
}

/// signSGD and 1-bit SGD: states are 1 (also for 0.0, so that a bit is enough) and -1.
///
/// Biased: to be used with [`ErrorFeedback`](crate::gradient::ErrorFeedback), except in plain signSGD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sign {
    /// What the signs stand for.
    pub scale: SignScale,
    /// Elements that share scales; [`WHOLE`] for all.
    pub bucket: usize,
}

impl Default for Sign {
    /// One mean for all.
    fn default() -> Self {
        Self { scale: SignScale::Mean, bucket: WHOLE }
    }
}

impl Sign {
    pub(super) const fn per_bucket(self) -> usize {
        match self.scale {
            SignScale::One | SignScale::Mean => 1,
            SignScale::Means => 2,
        }
    }

    #[inline(always)]
    pub(super) fn quantize(self, gradient: &[f32]) -> Result<Parts> {
        check_bucket(self.bucket)?;
        let mut scales = Vec::new();
        // A mean of f32 lies within the range of f32.
        let mean = |values: &mut dyn Iterator<Item = f32>| {
            let (sum, count) =
                values.fold((0.0, 0u64), |(sum, count), value| (sum + f64::from(value), count + 1));
            if count > 0 { (sum / count as f64) as f32 } else { 0.0 }
        };
        for values in gradient.chunks(self.bucket) {
            let values = values.iter().copied();
            match self.scale {
                SignScale::One => scales.push(1.0),
                SignScale::Mean => scales.push(mean(&mut values.map(f32::abs))),
                SignScale::Means => {
                    scales.push(mean(&mut values.clone().filter(|value| *value >= 0.0)));
                    scales.push(mean(&mut values.filter(|value| *value < 0.0)));
                }
            }
        }
        let states = gradient.iter().map(|&value| if value < 0.0 { -1 } else { 1 }).collect();
        Ok((states, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: State>(
        self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        for (states, scales) in buckets(states, self.bucket, scales, self.per_bucket())? {
            let (plus, minus) = match scales {
                &[plus, minus] => (plus, minus),
                _ => (scales[0], -scales[0]),
            };
            for &state in states {
                values.push(match state.into() {
                    1 => plus,
                    -1 => minus,
                    state => return Err(bad(values.len(), format!("state {state} of signs"))),
                });
            }
        }
        Ok(())
    }
}
