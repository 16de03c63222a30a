//! QSGD: levels between 0 and the norm of a bucket.

use super::super::states::State;
use super::{Parts, bad, buckets, check_bucket, largest, round_up};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// The most levels that QSGD may have.
pub const MAX_LEVELS: u32 = 1 << 30;

/// By what QSGD divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Norm {
    /// The Euclidean norm: the paper's analysis.
    #[default]
    L2,
    /// The largest magnitude: the paper's experiments (section 4), for a smaller error.
    Max,
}

/// QSGD (Alistarh et al., NIPS 2017, section 3.1): `v` becomes `‖v‖ · sgn(v) · ξ`, where `ξ` is one of
/// the levels `0, 1/s, … 1` next to `|v| / ‖v‖`, drawn so that its mean is right.
///
/// The state is `sgn(v) · ξ · s`. `E[Q(v)] = v` and
/// `E‖Q(v) - v‖² ≤ min(d / s², √d / s) ‖v‖²` for buckets of `d` elements and the Euclidean norm (lemma 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Qsgd {
    /// Levels above 0, the paper's `s`: 1 to [`MAX_LEVELS`]. Up to 127 states fit a byte.
    pub levels: u32,
    /// Elements that share a norm; [`WHOLE`](super::WHOLE) for all.
    pub bucket: usize,
    /// The norm.
    pub norm: Norm,
}

impl Default for Qsgd {
    /// 4 bits and buckets of 512, as in the paper's experiments.
    fn default() -> Self {
        Self { levels: 7, bucket: 512, norm: Norm::L2 }
    }
}

impl Qsgd {
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=MAX_LEVELS).contains(&self.levels) {
            let detail = format!("{} levels; QSGD takes 1 to {MAX_LEVELS}", self.levels);
            return Err(Error::option(detail));
        }
        check_bucket(self.bucket)
    }

    #[inline(always)]
    pub(super) fn quantize(&self, gradient: &[f32], random: Random) -> Result<Parts> {
        self.check()?;
        let levels = f64::from(self.levels);
        let mut states = vec![0; gradient.len()];
        let mut scales = Vec::with_capacity(gradient.len().div_ceil(self.bucket));
        let buckets = gradient.chunks(self.bucket).zip(states.chunks_mut(self.bucket));
        for (bucket, (values, states)) in buckets.enumerate() {
            let start = bucket.saturating_mul(self.bucket);
            let scale = match self.norm {
                Norm::L2 => {
                    let squares = values.iter().map(|&value| f64::from(value) * f64::from(value));
                    // Rounded up, so that no level exceeds the highest one.
                    round_up(squares.sum::<f64>().sqrt(), start)?
                }
                Norm::Max => largest(values),
            };
            let factor = if scale > 0.0 { levels / f64::from(scale) } else { 0.0 };
            for ((index, &value), state) in values.iter().enumerate().zip(states) {
                let position = f64::from(value.abs()) * factor;
                // As a number that is not negative is cut, it is rounded down.
                let below = position as i32;
                let up = random.uniform((start + index) as u64) < position - f64::from(below);
                let level = (below + i32::from(up)).min(self.levels as i32);
                *state = if value < 0.0 { -level } else { level };
            }
            scales.push(scale);
        }
        Ok((states, scales))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: State>(
        &self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        self.check()?;
        for (states, scale) in buckets(states, self.bucket, scales, 1)? {
            let unit = f64::from(scale[0]) / f64::from(self.levels);
            for &state in states {
                let state: i32 = state.into();
                if state.unsigned_abs() > self.levels {
                    let detail = format!("state {state} of QSGD with {} levels", self.levels);
                    return Err(bad(values.len(), detail));
                }
                values.push((unit * f64::from(state)) as f32);
            }
        }
        Ok(())
    }
}
