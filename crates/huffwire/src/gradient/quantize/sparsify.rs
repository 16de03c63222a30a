//! Sparsification: a few elements exactly, 0 for the others.

use std::cmp::Reverse;

use super::super::values::Value;
use super::{Parts, bad};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// The choice of the elements that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The elements of the largest magnitude (Aji and Heafield, EMNLP 2017; Stich et al., NeurIPS 2018). This is biased:
    /// use it with [`ErrorFeedback`](crate::gradient::ErrorFeedback). `‖C(v) - v‖² ≤ (1 - k/d) ‖v‖²`.
    Top,
    /// Random elements, each with the same probability, multiplied by `d / k`: `E[C(v)] = v` and `E‖C(v) - v‖² = (d/k - 1) ‖v‖²` (Stich et al.;
    /// Wangni et al., NeurIPS 2018).
    Random,
}

/// Top-k and random-k sparsification. Values are 1 where an element is kept, 0 elsewhere. Scales are the kept elements,
/// in order.
///
/// [`Sparsify::apply`] returns the sparse gradient, which another quantizer can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sparsify {
    /// Which elements are kept.
    pub keep: Keep,
    /// The share of the elements that is kept, above 0 and at most 1. At least one element is kept.
    pub share: f64,
}

impl Sparsify {
    pub(super) fn check(self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::option(format!("a share of {} to keep; above 0 and at most 1", self.share)))
    }

    /// Number of elements that are kept of `elements`.
    #[must_use]
    pub fn kept(self, elements: usize) -> usize {
        ((elements as f64 * self.share).round() as usize).clamp(1.min(elements), elements)
    }

    /// The sparse gradient.
    ///
    /// # Errors
    /// As [`Quantizer::quantize`](super::Quantizer::quantize).
    pub fn apply(self, gradient: &[f32], seed: u64) -> Result<Vec<f32>> {
        let quantizer = super::Quantizer::Sparsify(self);
        quantizer.quantize(gradient, seed)?.dequantize()
    }

    pub(super) fn quantize(self, gradient: &[f32], random: Random) -> Result<Parts> {
        self.check()?;
        let mut values = vec![0; gradient.len()];
        let count = self.kept(gradient.len());
        match self.keep {
            Keep::Top => mark_largest(gradient, count, &mut values),
            Keep::Random => mark_any(count, random, &mut values),
        }
        let factor = match self.keep {
            Keep::Top => 1.0,
            Keep::Random => gradient.len() as f64 / count.max(1) as f64,
        };
        let mut scales = Vec::with_capacity(count);
        let kept = values.iter().zip(gradient).enumerate().filter(|(_, (value, _))| **value == 1);
        for (index, (_, &float)) in kept {
            let scaled = (f64::from(float) * factor) as f32;
            if !scaled.is_finite() {
                let detail = format!("{float} times {factor} exceeds the range of f32");
                return Err(Error::unquantizable(index, detail));
            }
            scales.push(scaled);
        }
        Ok((values, scales))
    }

    pub(super) fn dequantize<S: Value>(
        self,
        values: &[S],
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        let mut kept = scales.iter();
        for &value in values {
            let at = floats.len();
            floats.push(match value.into() {
                0 => 0.0,
                1 => *kept
                    .next()
                    .ok_or_else(|| bad(at, "fewer scales than elements that are kept"))?,
                value => return Err(bad(at, format!("value {value} of a sparse one"))),
            });
        }
        match kept.len() {
            0 => Ok(()),
            left => Err(bad(floats.len(), format!("{left} scales more than elements kept"))),
        }
    }
}

/// Marks the elements of the largest magnitude; of equal ones the first.
fn mark_largest(gradient: &[f32], count: usize, values: &mut [i32]) {
    let mut order: Vec<usize> = (0..gradient.len()).collect();
    if count < order.len() {
        // Magnitudes have the same order as their bits.
        let key = |&index: &usize| (Reverse(gradient[index].abs().to_bits()), index);
        order.select_nth_unstable_by_key(count, key);
        order.truncate(count);
    }
    for index in order {
        values[index] = 1;
    }
}

/// Marks `count` elements, each subset with the same probability (selection sampling: Knuth, TAOCP 3.4.2, algorithm S).
fn mark_any(count: usize, random: Random, values: &mut [i32]) {
    let mut left = count;
    let elements = values.len();
    for (index, value) in values.iter_mut().enumerate() {
        let rest = (elements - index) as f64;
        if random.uniform(index as u64) * rest < left as f64 {
            *value = 1;
            left -= 1;
        }
    }
}
