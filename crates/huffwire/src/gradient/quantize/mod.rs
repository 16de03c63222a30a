//! Quantizers of gradients: from floating-point values to states and scales, and back.
//!
//! All are as their papers have them, in a form that is the same on every machine: arithmetic is in
//! double precision and in a fixed order, and stochastic rounding takes its random numbers from
//! [`Random`](super::Random), by the seed of the call and the index of the element.
//!
//! # Bad input
//!
//! A value that is NaN or infinite, and a norm beyond the range of f32, are
//! [`Error::Unquantizable`], with the index; a number of levels or a bucket that makes no sense is
//! [`Error::InvalidOption`]. States and scales that no quantizer makes (they may come from a wire) are
//! [`Error::Malformed`] when they are dequantized. Zero gradients, also of subnormal numbers, are fine.

mod linear;
mod natural;
mod qsgd;
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

use super::states::{State, StateBuf, States, with_states};
use crate::error::{Error, Result, reserve};
use crate::platform::Platform;

/// The bucket that is a whole tensor.
pub const WHOLE: usize = usize::MAX;

/// A quantizer and its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Quantizer {
    /// Any number of levels, stochastic rounding.
    Qsgd(Qsgd),
    /// Three levels, stochastic.
    TernGrad(TernGrad),
    /// Powers of two, stochastic rounding.
    Natural(Natural),
    /// Signs alone.
    Sign(Sign),
    /// Few elements, exactly.
    Sparsify(Sparsify),
    /// 8 bits, rounded to nearest.
    Linear(Linear),
}

/// A quantized gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The quantizer that made it.
    pub quantizer: Quantizer,
    /// A state for each element.
    pub states: StateBuf,
    /// What the quantizer needs to turn states into values: norms of buckets, or the values kept.
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

    /// Whether the parameters make sense.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when they do not.
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

    /// How many scales go with so many elements; `None` where that depends on the states.
    fn scales(&self, elements: usize) -> Option<usize> {
        let buckets = |bucket: usize| elements.div_ceil(bucket.max(1));
        match self {
            Self::Qsgd(Qsgd { bucket, .. })
            | Self::TernGrad(TernGrad { bucket, .. })
            | Self::Linear(Linear { bucket }) => Some(buckets(*bucket)),
            Self::Natural(_) => Some(1),
            Self::Sign(sign) => Some(buckets(sign.bucket).saturating_mul(sign.per_bucket())),
            Self::Sparsify(_) => None,
        }
    }

    /// Whether so many scales may go with so many elements.
    pub(super) fn takes(&self, scales: usize, elements: usize) -> bool {
        self.scales(elements).map_or(scales <= elements, |due| scales == due)
    }

    /// Quantizes a gradient. `seed` decides where stochastic rounding goes; quantizers without it do
    /// not care.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for parameters, [`Error::Unquantizable`] for values that make no sense.
    pub fn quantize(&self, gradient: &[f32], seed: u64) -> Result<Quantized> {
        // Whether there is one is found in no time, unlike where.
        if gradient.iter().fold(false, |any, value| any | !value.is_finite())
            && let Some(index) = gradient.iter().position(|value| !value.is_finite())
        {
            return Err(Error::unquantizable(index, format!("its value is {}", gradient[index])));
        }
        let random = super::Random::new(seed);
        // Rounding is one instruction where a platform has it, and always gives the same.
        let (states, scales) = Platform::detect().run(|| match self {
            Self::Qsgd(quantizer) => quantizer.quantize(gradient, random),
            Self::TernGrad(quantizer) => quantizer.quantize(gradient, random),
            Self::Natural(quantizer) => quantizer.quantize(gradient, random),
            Self::Sign(quantizer) => quantizer.quantize(gradient),
            Self::Sparsify(quantizer) => quantizer.quantize(gradient, random),
            Self::Linear(quantizer) => quantizer.quantize(gradient),
        })?;
        Ok(Quantized { quantizer: *self, states: StateBuf::new(states), scales })
    }

    /// The values that states and scales stand for.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for parameters, [`Error::Malformed`] for a state, a scale or a number of
    /// scales that this quantizer never makes.
    pub fn dequantize(&self, states: States<'_>, scales: &[f32]) -> Result<Vec<f32>> {
        check_scales(scales)?;
        let mut values = Vec::new();
        self.dequantize_to(states, scales, &mut values)?;
        Ok(values)
    }

    /// [`Quantizer::dequantize`], to behind the values that are there; scales are known to be finite.
    fn dequantize_to(
        &self,
        states: States<'_>,
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        reserve(values, states.len(), "a quantized tensor's values")?;
        with_states!(States, states, states => Platform::detect().run(|| match self {
            Self::Qsgd(quantizer) => quantizer.dequantize(states, scales, values),
            Self::TernGrad(quantizer) => quantizer.dequantize(states, scales, values),
            Self::Natural(quantizer) => quantizer.dequantize(states, scales, values),
            Self::Sign(quantizer) => quantizer.dequantize(states, scales, values),
            Self::Sparsify(quantizer) => quantizer.dequantize(states, scales, values),
            Self::Linear(quantizer) => quantizer.dequantize(states, scales, values),
        }))
    }

    /// The bucket, and the scales of each; `None` where scales do not go with buckets.
    const fn buckets(&self) -> Option<(usize, usize)> {
        match self {
            Self::Qsgd(Qsgd { bucket, .. })
            | Self::TernGrad(TernGrad { bucket, .. })
            | Self::Linear(Linear { bucket }) => Some((*bucket, 1)),
            Self::Sign(sign) => Some((sign.bucket, sign.per_bucket())),
            Self::Natural(_) | Self::Sparsify(_) => None,
        }
    }

    /// The states that this quantizer can make, lowest and highest: what a sampling encoder takes for its
    /// alphabet without looking at the tensor. Natural compression has more than it ever uses.
    #[must_use]
    pub fn alphabet(&self) -> (i32, i32) {
        match self {
            Self::Qsgd(quantizer) => {
                let highest = i32::try_from(quantizer.levels).unwrap_or(i32::MAX);
                (-highest, highest)
            }
            Self::TernGrad(_) | Self::Sign(_) => (-1, 1),
            Self::Natural(_) => (-natural::STATES, natural::STATES),
            Self::Sparsify(_) => (0, 1),
            Self::Linear(_) => (-linear::LEVELS, linear::LEVELS),
        }
    }
}

/// Name and parameters: `qsgd levels=4 norm=l2 bucket=512`, `terngrad clip=2.5 bucket=all`.
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
    /// The values it stands for.
    ///
    /// # Errors
    /// As [`Quantizer::dequantize`].
    pub fn dequantize(&self) -> Result<Vec<f32>> {
        self.quantizer.dequantize(self.states.view(), &self.scales)
    }
}

/// Dequantizes a tensor whose states come part by part, the first part first.
#[derive(Debug, Default)]
pub(super) struct ByParts {
    /// States that came.
    states: usize,
    /// Scales that were used up, where each stands for one state.
    scales: usize,
}

impl ByParts {
    /// Appends the values of the next states; `scales` are those of the whole tensor, found to be finite and, by
    /// [`Quantizer::takes`], as many as there should be.
    pub(super) fn next(
        &mut self,
        quantizer: &Quantizer,
        states: States<'_>,
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let count = states.len();
        match quantizer.buckets() {
            Some((bucket, per_bucket)) => {
                // What is left of the bucket that the last part ended in, then those that begin in this one.
                let into = self.states % bucket;
                let rest = if into == 0 { 0 } else { (bucket - into).min(count) };
                for (from, to) in [(0, rest), (rest, count)] {
                    if from == to {
                        continue;
                    }
                    let first = (self.states + from) / bucket;
                    let end = (self.states + to).div_ceil(bucket);
                    let of_these = scales.get(first * per_bucket..end * per_bucket);
                    let of_these = of_these.ok_or_else(|| bad(0, "fewer scales than buckets"))?;
                    quantizer.dequantize_to(states.slice(from, to), of_these, values)?;
                }
            }
            None if matches!(quantizer, Quantizer::Sparsify(_)) => {
                let left = scales.get(self.scales..).unwrap_or(&[]);
                // Too few are for the quantizer to find.
                let due = (count - states.zeros()).min(left.len());
                quantizer.dequantize_to(states, &left[..due], values)?;
                self.scales += due;
            }
            None => quantizer.dequantize_to(states, scales, values)?,
        }
        self.states += count;
        Ok(())
    }

    /// Checks that nothing is left when all states came.
    pub(super) fn finish(&self, quantizer: &Quantizer, scales: &[f32]) -> Result<()> {
        match quantizer {
            Quantizer::Sparsify(_) if self.scales < scales.len() => {
                let left = scales.len() - self.scales;
                Err(bad(self.states, format!("{left} values more than elements kept")))
            }
            _ => Ok(()),
        }
    }
}

/// Checks scales that may come from a wire.
pub(super) fn check_scales(scales: &[f32]) -> Result<()> {
    match scales.iter().position(|scale| !scale.is_finite()) {
        Some(index) => Err(bad(index, format!("scale {index} is {}", scales[index]))),
        None => Ok(()),
    }
}

/// States before their width is known, and scales.
type Parts = (Vec<i32>, Vec<f32>);

#[cold]
fn bad(offset: usize, detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::malformed("a quantized gradient", offset, detail)
}

fn check_bucket(bucket: usize) -> Result<()> {
    if bucket == 0 {
        return Err(Error::option("buckets of 0 elements; 1 or more are needed"));
    }
    Ok(())
}

/// Buckets of states, each with its own scales; `per_bucket` scales each.
fn buckets<'a, S: State>(
    states: &'a [S],
    bucket: usize,
    scales: &'a [f32],
    per_bucket: usize,
) -> Result<impl Iterator<Item = (&'a [S], &'a [f32])>> {
    check_bucket(bucket)?;
    let needed = states.len().div_ceil(bucket).saturating_mul(per_bucket);
    if scales.len() != needed {
        let found = scales.len();
        return Err(bad(0, format!("{found} scales where the states need {needed}")));
    }
    Ok(states.chunks(bucket).zip(scales.chunks(per_bucket)))
}

/// The smallest f32 that is at least `value`.
fn round_up(value: f64, index: usize) -> Result<f32> {
    let rounded = value as f32;
    let rounded = if f64::from(rounded) < value { rounded.next_up() } else { rounded };
    if rounded.is_finite() {
        Ok(rounded)
    } else {
        Err(Error::unquantizable(index, "the norm of its bucket exceeds the range of f32"))
    }
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}
