//! A few elements, exactly; the others are 0.

use std::cmp::Reverse;

use super::super::states::State;
use super::{Parts, bad};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// Which elements are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Those of the largest magnitude (Aji and Heafield, EMNLP 2017; Stich et al., NeurIPS 2018). Biased:
    /// to be used with [`ErrorFeedback`](crate::gradient::ErrorFeedback). `‖C(v) - v‖² ≤ (1 - k/d) ‖v‖²`.
    Top,
    /// Any, all alike, times `d / k`: `E[C(v)] = v` and `E‖C(v) - v‖² = (d/k - 1) ‖v‖²` (Stich et al.;
    /// Wangni et al., NeurIPS 2018).
    Random,
}

/// Top-k and random-k sparsification: states are 1 where an element is kept, 0 elsewhere; the scales are
/// the kept values in order.
///
/// [`Sparsify::apply`] gives the sparse gradient itself, to quantize it further.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sparsify {
    /// Which elements are kept.
    pub keep: Keep,
    /// The share that is kept, above 0 and at most 1, of at least one element.
    pub share: f64,
}

impl Sparsify {
    pub(super) fn check(self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::option(format!("a share of {} to keep; above 0 and at most 1", self.share)))
    }

    /// How many of `elements` are kept.
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
        let mut states = vec![0; gradient.len()];
        let count = self.kept(gradient.len());
        match self.keep {
            Keep::Top => mark_largest(gradient, count, &mut states),
            Keep::Random => mark_any(count, random, &mut states),
        }
        let factor = match self.keep {
            Keep::Top => 1.0,
            Keep::Random => gradient.len() as f64 / count.max(1) as f64,
        };
        let mut scales = Vec::with_capacity(count);
        let kept = states.iter().zip(gradient).enumerate().filter(|(_, (state, _))| **state == 1);
        for (index, (_, &value)) in kept {
            let scaled = (f64::from(value) * factor) as f32;
            if !scaled.is_finite() {
                let detail = format!("{value} times {factor} exceeds the range of f32");
                return Err(Error::unquantizable(index, detail));
            }
            scales.push(scaled);
        }
        Ok((states, scales))
    }

    pub(super) fn dequantize<S: State>(
        self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        let mut kept = scales.iter();
        for &state in states {
            let at = values.len();
            values.push(match state.into() {
                0 => 0.0,
                1 => *kept
                    .next()
                    .ok_or_else(|| bad(at, "fewer values than elements that are kept"))?,
                state => return Err(bad(at, format!("state {state} of a sparse one"))),
            });
        }
        match kept.len() {
            0 => Ok(()),
            left => Err(bad(values.len(), format!("{left} values more than elements kept"))),
        }
    }
}

/// Marks the elements of the largest magnitude; among equals the first.
fn mark_largest(gradient: &[f32], count: usize, states: &mut [i32]) {
    let mut order: Vec<usize> = (0..gradient.len()).collect();
    if count < order.len() {
        // Magnitudes order like their bits.
        let key = |&index: &usize| (Reverse(gradient[index].abs().to_bits()), index);
        order.select_nth_unstable_by_key(count, key);
        order.truncate(count);
    }
    for index in order {
        states[index] = 1;
    }
}

/// Marks `count` elements, every subset alike (selection sampling: Knuth, TAOCP 3.4.2, algorithm S).
fn mark_any(count: usize, random: Random, states: &mut [i32]) {
    let mut left = count;
    let elements = states.len();
    for (index, state) in states.iter_mut().enumerate() {
        let rest = (elements - index) as f64;
        if random.uniform(index as u64) * rest < left as f64 {
            *state = 1;
            left -= 1;
        }
    }
}
