//! Signs: one bit an element.

use super::super::values::Value;
use super::{Parts, WHOLE, bad, buckets, check_bucket};
use crate::error::Result;

/// The floats that the two signs stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SignScale {
    /// `±1`: signSGD (Bernstein et al., ICML 2018).
    One,
    /// Plus and minus the mean magnitude: EF-signSGD (Karimireddy et al., ICML 2019, section 4), whose error is
    /// `‖C(v) - v‖² = (1 - ‖v‖₁² / (d ‖v‖₂²)) ‖v‖₂²` (lemma 8).
    #[default]
    Mean,
    /// The mean of the floats that are not negative, and the mean of the negative ones: 1-bit SGD (Seide et al.,
    /// Interspeech 2014). No other two numbers have a smaller error.
    Means,
}

/// signSGD and 1-bit SGD: values are -1 for negative floats and 1 for all others, 0.0 included.
///
/// The quantizer is biased: use it with [`ErrorFeedback`](crate::gradient::ErrorFeedback), except for plain signSGD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sign {
    /// The floats that the signs stand for.
    pub scale: SignScale,
    /// Number of consecutive elements that share scales; [`WHOLE`] for all.
    pub bucket: usize,
}

impl Default for Sign {
    /// One mean for the whole tensor.
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
        let mean = |floats: &mut dyn Iterator<Item = f32>| {
            let (sum, count) =
                floats.fold((0.0, 0u64), |(sum, count), float| (sum + f64::from(float), count + 1));
            if count > 0 { (sum / count as f64) as f32 } else { 0.0 }
        };
        for floats in gradient.chunks(self.bucket) {
            let floats = floats.iter().copied();
            match self.scale {
                SignScale::One => scales.push(1.0),
                SignScale::Mean => scales.push(mean(&mut floats.map(f32::abs))),
                SignScale::Means => {
                    scales.push(mean(&mut floats.clone().filter(|float| *float >= 0.0)));
                    scales.push(mean(&mut floats.filter(|float| *float < 0.0)));
                }
            }
        }
        let values = gradient.iter().map(|&float| if float < 0.0 { -1 } else { 1 }).collect();
        Ok((values, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: Value>(
        self,
        values: &[S],
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        for (values, scales) in buckets(values, self.bucket, scales, self.per_bucket())? {
            let (plus, minus) = match scales {
                &[plus, minus] => (plus, minus),
                _ => (scales[0], -scales[0]),
            };
            for &value in values {
                floats.push(match value.into() {
                    1 => plus,
                    -1 => minus,
                    value => return Err(bad(floats.len(), format!("value {value} of signs"))),
                });
            }
        }
        Ok(())
    }
}
