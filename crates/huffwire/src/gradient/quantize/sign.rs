//! Signs: one bit an element.

use super::WHOLE;
use super::buckets::{Bucket, Rounding};
use crate::error::Result;
use crate::kernels::platform::Platform;
use crate::kernels::quantize::{self as kernels, Number, total};

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
    pub(super) const fn scale_count(self) -> usize {
        match self.scale {
            SignScale::One | SignScale::Mean => 1,
            SignScale::Means => 2,
        }
    }
}

impl Rounding for Sign {
    const IS_RANDOM: bool = false;

    fn bucket(&self) -> usize {
        self.bucket
    }

    fn per_bucket(&self) -> usize {
        self.scale_count()
    }

    fn highest(&self) -> u32 {
        1
    }

    fn measure(&self, bucket: &mut Bucket<'_>, scales: &mut Vec<f32>) -> Result<()> {
        if self.scale == SignScale::One {
            bucket.visit(|_| ())?;
            scales.push(1.0);
            return Ok(());
        }
        let sums = bucket.sums()?;
        let (plus, minus) = (total(&sums.plus), total(&sums.minus));
        let negative: u64 = sums.negative.iter().map(|&count| u64::from(count)).sum();
        let other = bucket.len() as u64 - negative;
        // A mean of f32 lies within the range of f32.
        let mean = |sum: f64, count: u64| if count > 0 { (sum / count as f64) as f32 } else { 0.0 };
        if self.scale == SignScale::Means {
            scales.extend([mean(plus, other), -mean(minus, negative)]);
        } else {
            scales.push(mean(plus + minus, negative + other));
        }
        Ok(())
    }

    #[inline]
    fn round<N: Number>(
        &self,
        platform: Platform,
        _: &[f32],
        floats: &[f32],
        _: &[u32],
        values: &mut [N],
    ) {
        kernels::signs(platform, floats, values);
    }

    #[inline]
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    ) {
        let (plus, minus) = match scales {
            &[plus, minus] => (plus, minus),
            _ => (scales[0], -scales[0]),
        };
        kernels::choose(platform, values, plus, minus, floats);
    }

    fn makes<N: Number>(&self, platform: Platform, values: &[N]) -> bool {
        let zeros = values.iter().fold(false, |any, value| any | ((*value).into() == 0));
        !zeros && kernels::within(platform, values, 1)
    }
}
