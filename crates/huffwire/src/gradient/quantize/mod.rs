//! Quantizers of gradients: floats to quantized values and scales, and back.
//!
//! Each quantizer follows its paper, and gives the same values on every machine: arithmetic is in double precision
//! and in a fixed order, and the random numbers of stochastic rounding come from [`Random`](super::Random), by the seed
//! of the call and the index of the element.
//!
//! # Errors
//!
//! * [`Error::Unquantizable`], with the index: a float that is NaN or infinite, or a norm beyond the range of f32.
//! * [`Error::InvalidOption`]: a parameter outside its range.
//! * [`Error::Malformed`]: values or scales that the quantizer never makes, which may come from a message.
//!
//! Gradients of zeros and of subnormal numbers are no errors.

mod buckets;
mod linear;
mod natural;
mod qsgd;
#[cfg(test)]
pub(super) mod samples;
mod sign;
mod sparsify;
mod terngrad;

pub use linear::Linear;
pub use natural::Natural;
pub use qsgd::{MAX_LEVELS, Norm, Qsgd};
pub use sign::{Sign, SignScale};
pub use sparsify::{Keep, Sparsify};
pub use terngrad::TernGrad;

use std::fmt;

pub(super) use buckets::parts;
use buckets::{Kept, Rounding, dequantize, quantize};

use super::values::{ValueBuf, Values, with_values};
use crate::error::{Error, Result, reserve};
use crate::kernels::platform::Platform;
use crate::kernels::quantize as kernels;

/// Matches a quantizer: the same for all that round bucket by bucket, and arms for the others.
macro_rules! match_bucketed {
    ($of:expr, $quantizer:ident => $same:expr, $($others:tt)*) => {
        match $of {
            Self::Qsgd($quantizer) => $same,
            Self::TernGrad($quantizer) => $same,
            Self::Sign($quantizer) => $same,
            Self::Linear($quantizer) => $same,
            $($others)*
        }
    };
}

/// The size of a bucket that is a whole tensor.
pub const WHOLE: usize = usize::MAX;

/// A quantizer and its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Quantizer {
    /// QSGD: any number of levels, stochastic rounding.
    Qsgd(Qsgd),
    /// TernGrad: three levels, stochastic rounding.
    TernGrad(TernGrad),
    /// Natural compression: powers of two, stochastic rounding.
    Natural(Natural),
    /// signSGD and 1-bit SGD: signs alone.
    Sign(Sign),
    /// Top-k and random-k: few elements, exactly.
    Sparsify(Sparsify),
    /// Linear int8: 8 bits, rounded to nearest.
    Linear(Linear),
}

/// A quantized gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The quantizer.
    pub quantizer: Quantizer,
    /// The quantized values, one for each element.
    pub values: ValueBuf,
    /// The scales that the quantizer needs to restore floats: norms of buckets, or the elements kept.
    pub scales: Vec<f32>,
}

impl Quantizer {
    /// The quantizer's name, without its parameters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Qsgd(_) => "qsgd",
            Self::TernGrad(_) => "terngrad",
            Self::Natural(_) => "natural",
            Self::Sign(_) => "sign",
            Self::Sparsify(Sparsify { keep: Keep::Top, .. }) => "topk",
            Self::Sparsify(Sparsify { keep: Keep::Random, .. }) => "randomk",
            Self::Linear(_) => "int8",
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a parameter outside its range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Qsgd(quantizer) => quantizer.check(),
            Self::TernGrad(quantizer) => quantizer.check(),
            Self::Natural(_) => Ok(()),
            Self::Sign(Sign { bucket, .. }) | Self::Linear(Linear { bucket }) => {
                check_bucket(*bucket)
            }
            Self::Sparsify(quantizer) => quantizer.check(),
        }
    }

    /// The number of scales for `elements` elements; `None` where it depends on the values.
    fn scales(&self, elements: usize) -> Option<usize> {
        let buckets = |bucket: usize| elements.div_ceil(bucket.max(1));
        match self {
            Self::Qsgd(Qsgd { bucket, .. })
            | Self::TernGrad(TernGrad { bucket, .. })
            | Self::Linear(Linear { bucket }) => Some(buckets(*bucket)),
            Self::Natural(_) => Some(1),
            Self::Sign(sign) => Some(buckets(sign.bucket).saturating_mul(sign.scale_count())),
            Self::Sparsify(_) => None,
        }
    }

    /// Whether `elements` elements may have `scales` scales.
    pub(super) fn takes(&self, scales: usize, elements: usize) -> bool {
        self.scales(elements).map_or(scales <= elements, |due| scales == due)
    }

    /// Quantizes a gradient. The random numbers of stochastic rounding follow from `seed`; other quantizers do not use
    /// it.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a parameter outside its range, [`Error::Unquantizable`] for a float that cannot be
    /// quantized.
    pub fn quantize(&self, gradient: &[f32], seed: u64) -> Result<Quantized> {
        let mut quantized = Quantized::empty(*self);
        self.quantize_to(gradient, seed, &mut quantized)?;
        Ok(quantized)
    }

    /// Does the same as [`Quantizer::quantize`] with a tensor that was quantized before, whose memory is used again. After
    /// an `Err` it holds anything.
    ///
    /// # Errors
    /// As [`Quantizer::quantize`].
    pub fn quantize_to(
        &self,
        gradient: &[f32],
        seed: u64,
        quantized: &mut Quantized,
    ) -> Result<()> {
        self.quantize_kept(Platform::detect(), gradient, None, seed, quantized)
    }

    /// Quantizes the sum of a gradient and `decay` times an error, and puts what the restored floats lack of that sum in the
    /// error's place: [`ErrorFeedback`](super::ErrorFeedback) with memory of the caller's. After an `Err` the error is
    /// unchanged.
    ///
    /// # Errors
    /// As [`Quantizer::quantize`]; [`Error::InvalidOption`] for an error of another size than the gradient.
    pub fn quantize_with_error(
        &self,
        gradient: &[f32],
        error: &mut [f32],
        decay: f32,
        seed: u64,
        quantized: &mut Quantized,
    ) -> Result<()> {
        if gradient.len() != error.len() {
            return Err(Error::option(format!(
                "a gradient of {} elements for a memory of {}",
                gradient.len(),
                error.len()
            )));
        }
        let kept = Some(Kept { error, decay });
        self.quantize_kept(Platform::detect(), gradient, kept, seed, quantized)
    }

    /// Quantizes a gradient, or its sum with the error that was kept, which is then the new error. After an `Err` the
    /// error is unchanged.
    fn quantize_kept(
        &self,
        platform: Platform,
        gradient: &[f32],
        kept: Option<Kept<&mut [f32]>>,
        seed: u64,
        quantized: &mut Quantized,
    ) -> Result<()> {
        self.check()?;
        quantized.quantizer = *self;
        let out = (&mut quantized.values, &mut quantized.scales);
        match_bucketed!(self, quantizer => rounded(platform, quantizer, seed, gradient, kept, out),
            Self::Natural(_) | Self::Sparsify(_) => {
                self.quantize_whole(platform, gradient, kept, seed, quantized)
            }
        )
    }

    /// Does the same for quantizers that have no buckets.
    fn quantize_whole(
        &self,
        platform: Platform,
        gradient: &[f32],
        kept: Option<Kept<&mut [f32]>>,
        seed: u64,
        quantized: &mut Quantized,
    ) -> Result<()> {
        let mut sums = Vec::new();
        let floats = match &kept {
            Some(kept) => {
                sums.resize(gradient.len(), 0.0);
                kernels::compensate(platform, gradient, kept.error, kept.decay, &mut sums);
                &sums[..]
            }
            None => gradient,
        };
        if !f32::from_bits(kernels::largest(platform, floats)).is_finite() {
            return Err(buckets::not_finite(floats, 0));
        }
        let random = super::Random::new(seed);
        // With the instructions of the platform rounding is one instruction. The result is the same.
        let (values, scales) = platform.run(|| match self {
            Self::Natural(quantizer) => quantizer.quantize(floats, random),
            Self::Sparsify(quantizer) => quantizer.quantize(floats, random),
            _ => Err(Error::option("this quantizer rounds buckets")),
        })?;
        (quantized.values, quantized.scales) = (ValueBuf::new(values), scales);
        if let Some(kept) = kept {
            let sent = quantized.dequantize()?;
            kernels::subtract(platform, floats, &sent, kept.error);
        }
        Ok(())
    }

    /// Restores floats from values and scales.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a parameter outside its range, [`Error::Malformed`] for a value, a scale or a
    /// number of scales that this quantizer never makes.
    pub fn dequantize(&self, values: Values<'_>, scales: &[f32]) -> Result<Vec<f32>> {
        check_scales(scales)?;
        let mut floats = Vec::new();
        self.append_floats(values, scales, &mut floats)?;
        Ok(floats)
    }

    /// Appends the floats of [`Quantizer::dequantize`]. The scales must be finite.
    fn append_floats(
        &self,
        values: Values<'_>,
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        reserve(floats, values.len(), "a quantized tensor's floats")?;
        let platform = Platform::detect();
        with_values!(Values, values, values => match_bucketed!(
            self, quantizer => dequantize(platform, quantizer, values, scales, floats),
            Self::Natural(quantizer) => {
                platform.run(|| quantizer.dequantize(values, scales, floats))
            }
            Self::Sparsify(quantizer) => {
                platform.run(|| quantizer.dequantize(values, scales, floats))
            }
        ))
    }

    /// Appends the floats of some consecutive values of a tensor, the first of which is its value `first`. `scales`
    /// are those of the whole tensor, or for a sparsifier those from the first of these values on. They must be finite,
    /// and [`Quantizer::takes`] must accept their number. Returns how many scales a sparsifier used.
    pub(super) fn dequantize_part(
        &self,
        first: usize,
        values: Values<'_>,
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<usize> {
        let count = values.len();
        match self.buckets() {
            Some((bucket, per_bucket)) => {
                // First the rest of the bucket in which the values begin, then the buckets that begin here.
                let into = first % bucket;
                let rest = if into == 0 { 0 } else { (bucket - into).min(count) };
                for (from, to) in [(0, rest), (rest, count)] {
                    if from == to {
                        continue;
                    }
                    let start = (first + from) / bucket;
                    let end = (first + to).div_ceil(bucket);
                    let of_these = scales.get(start * per_bucket..end * per_bucket);
                    let of_these = of_these.ok_or_else(|| bad(0, "fewer scales than buckets"))?;
                    self.append_floats(values.slice(from, to), of_these, floats)?;
                }
            }
            None if matches!(self, Self::Sparsify(_)) => {
                // If there are too few scales, the quantizer finds that.
                let due = (count - values.zeros()).min(scales.len());
                self.append_floats(values, &scales[..due], floats)?;
                return Ok(due);
            }
            None => self.append_floats(values, scales, floats)?,
        }
        Ok(0)
    }

    /// The size of a bucket and its number of scales; `None` for quantizers without buckets.
    pub(super) const fn buckets(&self) -> Option<(usize, usize)> {
        match self {
            Self::Qsgd(Qsgd { bucket, .. })
            | Self::TernGrad(TernGrad { bucket, .. })
            | Self::Linear(Linear { bucket }) => Some((*bucket, 1)),
            Self::Sign(sign) => Some((sign.bucket, sign.scale_count())),
            Self::Natural(_) | Self::Sparsify(_) => None,
        }
    }

    /// Quantizes a part of a gradient, for a link: see [`parts::quantize`].
    pub(super) fn quantize_part(
        &self,
        part: parts::Part<'_>,
        scratch: &mut parts::Scratch,
        out: (&mut [i8], &mut Vec<f32>),
        target: Option<parts::Restored<'_>>,
    ) -> Result<usize> {
        let platform = Platform::detect();
        match_bucketed!(self, quantizer => parts::quantize(platform, quantizer, part, scratch, out, target),
            Self::Natural(_) | Self::Sparsify(_) => Err(without_buckets(self)),
        )
    }

    /// Restores the floats of a part of a gradient: see [`parts::restore`].
    pub(super) fn restore_part(
        &self,
        values: &[i8],
        scales: &[f32],
        scratch: &mut parts::Scratch,
        target: parts::Restored<'_>,
    ) -> Result<()> {
        let platform = Platform::detect();
        match_bucketed!(self, quantizer => parts::restore(platform, quantizer, values, scales, scratch, target),
            Self::Natural(_) | Self::Sparsify(_) => Err(without_buckets(self)),
        )
    }

    /// The lowest and the highest value that this quantizer can make. Encoders that sample need them. Natural
    /// compression uses only a part of its range.
    #[must_use]
    pub fn alphabet(&self) -> (i32, i32) {
        match self {
            Self::Qsgd(quantizer) => {
                let highest = i32::try_from(quantizer.levels).unwrap_or(i32::MAX);
                (-highest, highest)
            }
            Self::TernGrad(_) | Self::Sign(_) => (-1, 1),
            Self::Natural(_) => (-natural::VALUES, natural::VALUES),
            Self::Sparsify(_) => (0, 1),
            Self::Linear(_) => (-(linear::LEVELS as i32), linear::LEVELS as i32),
        }
    }
}

/// Writes name and parameters: `qsgd levels=4 norm=l2 bucket=512`, `terngrad clip=2.5 bucket=all`.
impl fmt::Display for Quantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let bucket = match self {
            Self::Qsgd(Qsgd { levels, bucket, norm }) => {
                let norm = match norm {
                    Norm::L2 => "l2",
                    Norm::Max => "max",
                };
                write!(f, " levels={levels} norm={norm}")?;
                *bucket
            }
            Self::TernGrad(TernGrad { clip, bucket }) => {
                match clip {
                    Some(clip) => write!(f, " clip={clip}")?,
                    None => f.write_str(" clip=none")?,
                }
                *bucket
            }
            Self::Natural(_) => return Ok(()),
            Self::Sign(Sign { scale, bucket }) => {
                let scale = match scale {
                    SignScale::One => "one",
                    SignScale::Mean => "mean",
                    SignScale::Means => "means",
                };
                write!(f, " scale={scale}")?;
                *bucket
            }
            Self::Sparsify(Sparsify { share, .. }) => return write!(f, " keep={share}"),
            Self::Linear(Linear { bucket }) => *bucket,
        };
        match bucket {
            WHOLE => f.write_str(" bucket=all"),
            bucket => write!(f, " bucket={bucket}"),
        }
    }
}

impl Quantized {
    /// Nothing, as this quantizer makes it.
    #[must_use]
    pub fn empty(quantizer: Quantizer) -> Self {
        Self { quantizer, values: ValueBuf::default(), scales: Vec::new() }
    }

    /// Restores floats.
    ///
    /// # Errors
    /// As [`Quantizer::dequantize`].
    pub fn dequantize(&self) -> Result<Vec<f32>> {
        self.quantizer.dequantize(self.values.view(), &self.scales)
    }

    /// Restores floats in place of those that a vector held. After an `Err` it is empty.
    ///
    /// # Errors
    /// As [`Quantizer::dequantize`].
    pub fn dequantize_to(&self, floats: &mut Vec<f32>) -> Result<()> {
        floats.clear();
        check_scales(&self.scales)?;
        let restored = self.quantizer.append_floats(self.values.view(), &self.scales, floats);
        if restored.is_err() {
            floats.clear();
        }
        restored
    }
}

/// Checks that all scales are finite.
pub(super) fn check_scales(scales: &[f32]) -> Result<()> {
    match scales.iter().position(|scale| !scale.is_finite()) {
        Some(index) => Err(bad(index, format!("scale {index} is {}", scales[index]))),
        None => Ok(()),
    }
}

/// Values, before their width is chosen, and scales.
type Parts = (Vec<i32>, Vec<f32>);

#[cold]
fn bad(offset: usize, detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::malformed("a quantized gradient", offset, detail)
}

/// The error for a quantizer that has no buckets, where they are needed.
#[cold]
pub(super) fn without_buckets(quantizer: &Quantizer) -> Error {
    let name = quantizer.name();
    Error::option(format!("{name} has no buckets: take qsgd, terngrad, sign or int8"))
}

fn check_bucket(bucket: usize) -> Result<()> {
    if bucket == 0 {
        return Err(Error::option("buckets of 0 elements; 1 or more are needed"));
    }
    Ok(())
}

/// The smallest f32 that is at least `float`.
fn round_up(float: f64, index: usize) -> Result<f32> {
    let rounded = float as f32;
    let rounded = if f64::from(rounded) < float { rounded.next_up() } else { rounded };
    if rounded.is_finite() {
        Ok(rounded)
    } else {
        Err(Error::unquantizable(index, "the norm of its bucket exceeds the range of f32"))
    }
}

/// Quantizes with a quantizer that rounds buckets, to the narrowest values that it needs.
fn rounded(
    platform: Platform,
    quantizer: &impl Rounding,
    seed: u64,
    gradient: &[f32],
    kept: Option<Kept<&mut [f32]>>,
    (values, scales): (&mut ValueBuf, &mut Vec<f32>),
) -> Result<()> {
    if i8::try_from(quantizer.highest()).is_ok() {
        let mut narrow = match std::mem::take(values) {
            ValueBuf::I8(narrow) => narrow,
            ValueBuf::I32(_) => Vec::new(),
        };
        quantize(platform, quantizer, seed, gradient, kept, &mut narrow, scales)?;
        *values = ValueBuf::I8(narrow);
    } else {
        let mut wide = match std::mem::take(values) {
            ValueBuf::I8(_) => Vec::new(),
            ValueBuf::I32(wide) => wide,
        };
        quantize(platform, quantizer, seed, gradient, kept, &mut wide, scales)?;
        *values = ValueBuf::new(wide);
    }
    Ok(())
}
