//! 8-bit integers.

use super::super::states::State;
use super::{Parts, WHOLE, bad, buckets, check_bucket, largest, round_up};
use crate::error::Result;

/// The highest state.
pub(super) const LEVELS: i32 = 127;

/// Linear int8: `v` becomes the nearest multiple of `max |v| / 127`, ties to even. One scale for all,
/// or one a channel. `|Q(v) - v| ≤ scale / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Elements that share a scale: [`WHOLE`] for one scale a tensor, the number of elements of a channel
    /// (they follow each other) for one a channel.
    pub bucket: usize,
}

impl Default for Linear {
    /// One scale.
    fn default() -> Self {
        Self { bucket: WHOLE }
    }
}

impl Linear {
    /// One scale for channels of so many elements each, which follow each other (as rows of a weight, or
    /// filters of a convolution, whose first dimension is the channel).
    ///
    /// ```
    /// use huffwire::gradient::quantize::{Linear, Quantizer};
    ///
    /// let quantized = Quantizer::Linear(Linear::per_channel(3))
    ///     .quantize(&[1.27, -0.5, 0.25, 127.0, 64.0, -1.0], 0)?;
    /// assert_eq!(quantized.states, vec![127i8, -50, 25, 127, 64, -1].into());
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
        let mut states = vec![0; gradient.len()];
        let mut scales = Vec::new();
        let buckets = gradient.chunks(self.bucket).zip(states.chunks_mut(self.bucket));
        for (bucket, (values, states)) in buckets.enumerate() {
            // Rounded up, so that no state exceeds the highest one.
            let start = bucket.saturating_mul(self.bucket);
            let scale = round_up(f64::from(largest(values)) / f64::from(LEVELS), start)?;
            let divisor = if scale > 0.0 { f64::from(scale) } else { 1.0 };
            for (state, &value) in states.iter_mut().zip(values) {
                *state = (f64::from(value) / divisor).round_ties_even() as i32;
            }
            scales.push(scale);
        }
        Ok((states, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: State>(
        self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        for (states, scale) in buckets(states, self.bucket, scales, 1)? {
            for &state in states {
                let state: i32 = state.into();
                if !(-LEVELS..=LEVELS).contains(&state) {
                    return Err(bad(values.len(), format!("state {state} of int8")));
                }
                let value = f64::from(scale[0]) * f64::from(state);
                // The scale was rounded up, perhaps just beyond the range.
                values.push((value as f32).clamp(f32::MIN, f32::MAX));
            }
        }
        Ok(())
    }
}
