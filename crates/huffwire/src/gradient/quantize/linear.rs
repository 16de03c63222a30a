//! Linear int8: the nearest of 255 multiples of a scale.

use super::buckets::{Bucket, Rounding};
use super::{WHOLE, round_up};
use crate::error::Result;
use crate::kernels::platform::Platform;
use crate::kernels::quantize::{self as kernels, Number};

/// The highest quantized value.
pub(super) const LEVELS: u32 = 127;

/// Linear int8: a float `v` becomes the nearest multiple of `max |v| / 127`. There is one scale for the whole tensor, or
/// one for each channel. `|Q(v) - v| ≤ scale / 2`, to within 2⁻⁴⁴ scales: floats are multiplied by the reciprocal of the
/// scale in double precision.
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
}

impl Rounding for Linear {
    const IS_RANDOM: bool = false;

    fn bucket(&self) -> usize {
        self.bucket
    }

    fn highest(&self) -> u32 {
        LEVELS
    }

    fn measure(&self, bucket: &mut Bucket<'_>, scales: &mut Vec<f32>) -> Result<()> {
        let largest = bucket.visit(|_| ())?;
        // The scale is rounded up, so that no value exceeds the highest one.
        scales.push(round_up(f64::from(largest) / f64::from(LEVELS), bucket.start())?);
        Ok(())
    }

    #[inline]
    fn round<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        floats: &[f32],
        _: &[u32],
        values: &mut [N],
    ) {
        let factor = if scales[0] > 0.0 { 1.0 / f64::from(scales[0]) } else { 0.0 };
        kernels::nearest(platform, floats, factor, values);
    }

    #[inline]
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    ) {
        // The scale was rounded up, perhaps just beyond the range: the kernel cuts to it.
        kernels::multiply(platform, values, scales[0].into(), floats);
    }
}
