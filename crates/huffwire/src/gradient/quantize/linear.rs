//! Linear int8: the nearest of 255 multiples of a scale.

use super::super::values::Value;
use super::{Parts, WHOLE, bad, buckets, check_bucket, largest, round_up};
use crate::error::Result;

/// The highest quantized value.
pub(super) const LEVELS: i32 = 127;

/// Linear int8: a float `v` becomes the nearest multiple of `max |v| / 127`, ties to even. There is one scale for the
/// whole tensor, or one for each channel. `|Q(v) - v| ≤ scale / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Number of consecutive elements that share a scale: [`WHOLE`] for one scale in all, or the number of elements of a
    /// channel.
    pub bucket: usize,
}

impl Default for Linear {
    /// One scale for the whole tensor.
    fn default() -> Self {
        Self { bucket: WHOLE }
    }
}

impl Linear {
    /// One scale for each channel of `elements` consecutive elements, such as a row of a weight matrix, or a filter of a
    /// convolution whose first dimension is the channel.
    ///
    /// ```
    /// use huffwire::gradient::quantize::{Linear, Quantizer};
    ///
    /// let quantized = Quantizer::Linear(Linear::per_channel(3))
    ///     .quantize(&[1.27, -0.5, 0.25, 127.0, 64.0, -1.0], 0)?;
    /// assert_eq!(quantized.values, vec![127i8, -50, 25, 127, 64, -1].into());
    /// assert_eq!(quantized.scales.len(), 2);
    /// # Ok::<(), huffwire::Error>(())
    /// ```
    #[must_use]
    pub const fn per_channel(elements: usize) -> Self {
        Self { bucket: elements }
    }

    #[inline(always)]
    pub(super) fn quantize(self, gradient: &[f32]) -> Result<Parts> {
        check_bucket(self.bucket)?;
        let mut values = vec![0; gradient.len()];
        let mut scales = Vec::new();
        let buckets = gradient.chunks(self.bucket).zip(values.chunks_mut(self.bucket));
        for (bucket, (floats, values)) in buckets.enumerate() {
            // The scale is rounded up, so that no value exceeds the highest one.
            let start = bucket.saturating_mul(self.bucket);
            let scale = round_up(f64::from(largest(floats)) / f64::from(LEVELS), start)?;
            let divisor = if scale > 0.0 { f64::from(scale) } else { 1.0 };
            for (value, &float) in values.iter_mut().zip(floats) {
                *value = (f64::from(float) / divisor).round_ties_even() as i32;
            }
            scales.push(scale);
        }
        Ok((values, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: Value>(
        self,
        values: &[S],
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        for (values, scale) in buckets(values, self.bucket, scales, 1)? {
            for &value in values {
                let value: i32 = value.into();
                if !(-LEVELS..=LEVELS).contains(&value) {
                    return Err(bad(floats.len(), format!("value {value} of int8")));
                }
                let float = f64::from(scale[0]) * f64::from(value);
                // The scale was rounded up, perhaps just beyond the range.
                floats.push((float as f32).clamp(f32::MIN, f32::MAX));
            }
        }
        Ok(())
    }
}
