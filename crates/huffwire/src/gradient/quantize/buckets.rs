//! Quantizers that scale each bucket of floats and round floats one by one: how they go over a tensor.
//!
//! First all buckets are measured, which finds their scales and everything that cannot be quantized. Then nothing can
//! fail any more, and blocks of [`BLOCK`] floats are rounded. The floats of a block, its random words and its restored
//! floats stay in the nearest cache.

pub(in crate::gradient) mod parts;

use std::ops::Range;

use super::bad;
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::kernels::quantize::{self as kernels, Moments, Number, Sums};

/// Floats that are rounded together: an even number.
const BLOCK: usize = 1024;

/// The scales and the rounding of a quantizer.
pub(super) trait Rounding {
    /// Whether rounding takes random numbers.
    const IS_RANDOM: bool;

    /// Elements that share scales.
    fn bucket(&self) -> usize;

    /// Number of scales of a bucket.
    fn per_bucket(&self) -> usize {
        1
    }

    /// The highest magnitude of a value.
    fn highest(&self) -> u32;

    /// Appends the scales of a bucket.
    fn measure(&self, bucket: &mut Bucket<'_>, scales: &mut Vec<f32>) -> Result<()>;

    /// Rounds floats of a bucket with these scales.
    fn round<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        floats: &[f32],
        noise: &[u32],
        values: &mut [N],
    );

    /// Restores floats of a bucket with these scales. No value exceeds the highest one.
    fn restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        values: &[N],
        floats: &mut [f32],
    );

    /// Rounds floats of a bucket with these scales, and restores them to `sent`.
    #[inline]
    fn round_and_restore<N: Number>(
        &self,
        platform: Platform,
        scales: &[f32],
        floats: &[f32],
        noise: &[u32],
        values: &mut [N],
        sent: &mut [f32],
    ) {
        self.round(platform, scales, floats, noise, values);
        self.restore(platform, scales, values, sent);
    }

    /// Whether all values are some that the quantizer makes.
    fn makes<N: Number>(&self, platform: Platform, values: &[N]) -> bool {
        kernels::within(platform, values, self.highest())
    }
}

/// The error of earlier steps, and how much it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<E> {
    pub(super) error: E,
    pub(super) decay: f32,
}

/// A gradient that is quantized, and the error that is added to it.
#[derive(Debug, Clone, Copy)]
struct Floats<'a> {
    platform: Platform,
    gradient: &'a [f32],
    kept: Option<Kept<&'a [f32]>>,
}

impl<'a> Floats<'a> {
    /// The floats of a range of at most [`BLOCK`] elements.
    #[inline]
    fn part<'b>(self, range: Range<usize>, buffer: &'b mut [f32; BLOCK]) -> &'b [f32]
    where
        'a: 'b,
    {
        let gradient = &self.gradient[range.clone()];
        let Some(Kept { error, decay }) = self.kept else { return gradient };
        let sums = &mut buffer[..gradient.len()];
        kernels::compensate(self.platform, gradient, &error[range], decay, sums);
        sums
    }
}

/// A bucket that is measured.
#[derive(Debug)]
pub(super) struct Bucket<'a> {
    floats: Floats<'a>,
    range: Range<usize>,
    buffer: &'a mut [f32; BLOCK],
}

impl Bucket<'_> {
    /// Index of the first element.
    pub(super) const fn start(&self) -> usize {
        self.range.start
    }

    /// Number of elements, at least 1.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// The first float.
    pub(super) fn first(&mut self) -> f32 {
        self.floats.part(self.range.start..self.range.start + 1, self.buffer)[0]
    }

    /// Calls a function with all floats, some at a time. Returns the largest magnitude.
    ///
    /// # Errors
    /// [`Error::Unquantizable`] for a float that is not finite.
    #[inline]
    pub(super) fn visit(&mut self, mut each: impl FnMut(&[f32])) -> Result<f32> {
        let mut largest = 0;
        for start in self.range.clone().step_by(BLOCK) {
            let end = self.range.end.min(start + BLOCK);
            let floats = self.floats.part(start..end, self.buffer);
            largest = largest.max(kernels::largest(self.floats.platform, floats));
            if !f32::from_bits(largest).is_finite() {
                return Err(not_finite(floats, start));
            }
            each(floats);
        }
        Ok(f32::from_bits(largest))
    }

    /// The largest magnitude, and the sums of distances from a number and of their squares.
    pub(super) fn moments(&mut self, pivot: f32) -> Result<(f32, Moments)> {
        let mut moments = Moments::default();
        let platform = self.floats.platform;
        let largest =
            self.visit(|floats| kernels::add_moments(platform, floats, pivot, &mut moments))?;
        Ok((largest, moments))
    }

    /// The sums of positive and negative floats.
    pub(super) fn sums(&mut self) -> Result<Sums> {
        let mut sums = Sums::default();
        let platform = self.floats.platform;
        self.visit(|floats| kernels::add_magnitudes(platform, floats, &mut sums))?;
        Ok(sums)
    }
}

/// The error about the first float that is not finite.
#[cold]
pub(super) fn not_finite(floats: &[f32], start: usize) -> Error {
    let index = floats.iter().position(|float| !float.is_finite()).unwrap_or(0);
    let float = floats.get(index).copied().unwrap_or(f32::NAN);
    Error::unquantizable(start + index, format!("it is {float}"))
}

/// Quantizes a gradient, to which the kept error is added. The new error takes the place of the old one. After an `Err`
/// it is unchanged.
pub(super) fn quantize<Q: Rounding, N: Number>(
    platform: Platform,
    quantizer: &Q,
    seed: u64,
    gradient: &[f32],
    mut kept: Option<Kept<&mut [f32]>>,
    values: &mut Vec<N>,
    scales: &mut Vec<f32>,
) -> Result<()> {
    let count = gradient.len();
    scales.clear();
    measure(quantizer, floats(platform, gradient, &kept), scales)?;
    if values.len() != count {
        // Zeros of a new allocation cost nothing yet.
        *values = vec![N::default(); count];
    }
    let (mut sums, mut sent) = ([0.0; BLOCK], [0.0; BLOCK]);
    let mut noise = [0; BLOCK / 2];
    for start in (0..count).step_by(BLOCK) {
        let block = start..count.min(start + BLOCK);
        let values = &mut values[block.clone()];
        let sent = &mut sent[..block.len()];
        if Q::IS_RANDOM {
            let words = &mut noise[..block.len().div_ceil(2)];
            kernels::noise(platform, seed, start as u64 / 2, words);
        }
        let noise: &[u32; BLOCK] = zerocopy::transmute_ref!(&noise);
        let floats = match &kept {
            None => &gradient[block.clone()],
            Some(Kept { error, decay }) => {
                let (gradient, error) = (&gradient[block.clone()], &error[block.clone()]);
                kernels::compensate(platform, gradient, error, *decay, &mut sums);
                &sums[..block.len()]
            }
        };
        for (part, scales) in parts(quantizer, block.clone(), scales) {
            let (floats, values) = (&floats[part.clone()], &mut values[part.clone()]);
            let noise = &noise[part.clone()];
            if kept.is_some() {
                let sent = &mut sent[part];
                quantizer.round_and_restore(platform, scales, floats, noise, values, sent);
            } else {
                quantizer.round(platform, scales, floats, noise, values);
            }
        }
        if let Some(kept) = &mut kept {
            kernels::subtract(platform, floats, sent, &mut kept.error[block]);
        }
    }
    Ok(())
}

/// The floats that are quantized, while the error is only read.
fn floats<'a>(
    platform: Platform,
    gradient: &'a [f32],
    kept: &'a Option<Kept<&mut [f32]>>,
) -> Floats<'a> {
    let kept = kept.as_ref().map(|kept| Kept { error: &*kept.error, decay: kept.decay });
    Floats { platform, gradient, kept }
}

/// Appends the scales of all buckets.
fn measure(quantizer: &impl Rounding, floats: Floats<'_>, scales: &mut Vec<f32>) -> Result<()> {
    let count = floats.gradient.len();
    scales.reserve(count.div_ceil(quantizer.bucket()).saturating_mul(quantizer.per_bucket()));
    let mut buffer = [0.0; BLOCK];
    let mut start = 0;
    while start < count {
        let range = start..start.saturating_add(quantizer.bucket()).min(count);
        start = range.end;
        quantizer.measure(&mut Bucket { floats, range, buffer: &mut buffer }, scales)?;
    }
    Ok(())
}

/// The parts of a block that lie in different buckets: their places in the block, and their scales.
fn parts<'a>(
    quantizer: &impl Rounding,
    block: Range<usize>,
    scales: &'a [f32],
) -> impl Iterator<Item = (Range<usize>, &'a [f32])> {
    let (bucket, per_bucket) = (quantizer.bucket(), quantizer.per_bucket());
    let mut at = block.start;
    std::iter::from_fn(move || {
        (at < block.end).then(|| {
            let number = at / bucket;
            let end = (number + 1).saturating_mul(bucket).min(block.end);
            let part = at - block.start..end - block.start;
            at = end;
            (part, &scales[number * per_bucket..][..per_bucket])
        })
    })
}

/// Appends the floats that values stand for.
pub(super) fn dequantize<N: Number>(
    platform: Platform,
    quantizer: &impl Rounding,
    values: &[N],
    scales: &[f32],
    floats: &mut Vec<f32>,
) -> Result<()> {
    let needed = values.len().div_ceil(quantizer.bucket()).saturating_mul(quantizer.per_bucket());
    if scales.len() != needed {
        let found = scales.len();
        return Err(bad(0, format!("{found} scales where the values need {needed}")));
    }
    if !quantizer.makes(platform, values) {
        let is_bad = |value: &N| !quantizer.makes(Platform::Portable, &[*value]);
        let index = values.iter().position(is_bad).unwrap_or(0);
        let value: i32 = values.get(index).map_or(0, |value| (*value).into());
        return Err(bad(index, format!("value {value}, which this quantizer never makes")));
    }
    let before = floats.len();
    floats.resize(before + values.len(), 0.0);
    let floats = &mut floats[before..];
    for (part, scales) in parts(quantizer, 0..values.len(), scales) {
        quantizer.restore(platform, scales, &values[part.clone()], &mut floats[part]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Norm, Qsgd, Quantized, Quantizer, Sparsify, WHOLE, samples};
    use super::*;
    use crate::gradient::quantize::{Keep, Natural};

    fn quantizers() -> Vec<Quantizer> {
        let mut quantizers =
            samples::bucketed(&[1, 7, 64, 512, 1000, 1500, WHOLE], &[1, 4, 127, 1 << 20]);
        quantizers.push(Quantizer::Natural(Natural));
        quantizers.push(Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.1 }));
        quantizers
    }

    fn floats(count: usize, seed: u64) -> Vec<f32> {
        samples::floats(count, seed, 30)
    }

    /// Sizes around those of groups, blocks and buckets.
    const SIZES: [usize; 9] = [0, 1, 16, 17, 511, 1024, 1025, 2500, 4099];

    #[test]
    fn all_platforms_quantize_alike_and_keep_the_same_error() {
        for (quantizer, count) in quantizers().iter().flat_map(|q| SIZES.map(|count| (q, count))) {
            let (gradient, before) = (floats(count, 1), floats(count, 2));
            let results = Platform::available().map(|platform| {
                let mut plain = Quantized::empty(*quantizer);
                quantizer.quantize_kept(platform, &gradient, None, 5, &mut plain).unwrap();
                let mut error = before.clone();
                let kept = Some(Kept { error: &mut error[..], decay: 0.75 });
                let mut fed_back = Quantized::empty(*quantizer);
                quantizer.quantize_kept(platform, &gradient, kept, 5, &mut fed_back).unwrap();
                (plain, fed_back, error.iter().map(|float| float.to_bits()).collect::<Vec<_>>())
            });
            let results: Vec<_> = results.collect();
            assert!(results.iter().all(|result| *result == results[0]), "{quantizer}, {count}");
        }
    }

    /// What is quantized is the sum, and what is kept is what its floats lack.
    #[test]
    fn the_kept_error_is_the_sum_less_what_was_sent() {
        for (quantizer, count) in quantizers().iter().flat_map(|q| SIZES.map(|count| (q, count))) {
            let (gradient, before) = (floats(count, 3), floats(count, 4));
            let sum: Vec<f32> = gradient.iter().zip(&before).map(|(g, e)| g + 0.5 * e).collect();
            let mut error = before;
            let kept = Some(Kept { error: &mut error[..], decay: 0.5 });
            let mut quantized = Quantized::empty(*quantizer);
            quantizer
                .quantize_kept(Platform::detect(), &gradient, kept, 9, &mut quantized)
                .unwrap();
            assert_eq!(quantized, quantizer.quantize(&sum, 9).unwrap(), "{quantizer}, {count}");
            let sent = quantized.dequantize().unwrap();
            let left = sum.iter().zip(&sent).map(|(sum, sent)| sum - sent);
            assert!(error.iter().copied().eq(left), "{quantizer}, {count}");
        }
    }

    /// The rounding of an element depends on its place and not on the buckets before it.
    #[test]
    fn a_bucket_is_rounded_as_in_a_tensor_of_its_own_with_its_random_words() {
        let gradient = floats(3000, 7);
        let whole = Qsgd { levels: 4, bucket: 1500, norm: Norm::Max };
        let quantized = Quantizer::Qsgd(whole).quantize(&gradient, 11).unwrap();
        let mut noise = [0; 750];
        kernels::noise(Platform::Portable, 11, 750, &mut noise);
        let noise: [u32; 1500] = zerocopy::transmute!(noise);
        let mut values = [0i8; 1500];
        let scales = &quantized.scales[1..];
        whole.round(Platform::Portable, scales, &gradient[1500..], &noise, &mut values);
        assert_eq!(quantized.values.view().slice(1500, 3000), (&values[..]).into());
    }

    #[test]
    fn memory_that_is_used_again_does_not_show() {
        let (long, short) = (floats(3000, 1), floats(1700, 2));
        for quantizer in quantizers() {
            let mut again = Quantizer::Natural(Natural).quantize(&[1.0; 9], 1).unwrap();
            let mut restored = vec![7.0; 5];
            for floats in [&long, &short, &long] {
                quantizer.quantize_to(floats, 3, &mut again).unwrap();
                assert_eq!(again, quantizer.quantize(floats, 3).unwrap());
                again.dequantize_to(&mut restored).unwrap();
                assert_eq!(restored, again.dequantize().unwrap());
            }
        }
    }
}
