//! Natural compression: the sign and a power of two.

use super::super::states::State;
use super::{Parts, bad};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// States of either sign that could be needed: exponents of f32, subnormal ones too.
pub(super) const STATES: i32 = 278;

/// Natural compression (Horváth et al., "Natural Compression for Distributed Deep Learning", 2019,
/// definition 1): a value between two powers of two becomes one of them, drawn so that the mean is right.
///
/// `E[C(x)] = x` and `E‖C(x)‖² ≤ 9/8 ‖x‖²` (theorem 1).
///
/// One scale, a power of two that no value exceeds, serves all; state `±k` stands for
/// `±scale · 2^(1 - k)` and 0 for 0: so states do not care about the magnitude of a gradient, and the
/// usual ones fit a byte. Values of 2¹²⁷ and more, which could be rounded beyond the range of f32, are
/// [`Error::Unquantizable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Natural;

/// The exponent of the power of two at or below a positive number.
fn exponent(value: f32) -> i32 {
    // Every f32 is a normal number among the f64.
    (f64::from(value).to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// A power of two.
const fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Natural {
    #[inline(always)]
    pub(super) fn quantize(self, gradient: &[f32], random: Random) -> Result<Parts> {
        let largest = super::largest(gradient);
        if largest == 0.0 {
            return Ok((vec![0; gradient.len()], vec![0.0]));
        }
        if exponent(largest) == 127 {
            let index = gradient.iter().position(|value| value.abs() == largest);
            let detail = "natural compression takes values below 2^127";
            return Err(Error::unquantizable(index.unwrap_or(0), detail));
        }
        let whole = f64::from(largest) == power(exponent(largest));
        let top = exponent(largest) + i32::from(!whole);
        let state = |(index, &value): (usize, &f32)| {
            let magnitude = value.abs();
            if magnitude == 0.0 {
                return 0;
            }
            let low = exponent(magnitude);
            let up = f64::from(magnitude) / power(low) - 1.0;
            let rounded = low + i32::from(random.uniform(index as u64) < up);
            let state = top - rounded + 1;
            if value < 0.0 { -state } else { state }
        };
        let states = gradient.iter().enumerate().map(state).collect();
        Ok((states, vec![power(top) as f32]))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: State>(
        self,
        states: &[S],
        scales: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let &[scale] = scales else {
            let found = scales.len();
            return Err(bad(0, format!("{found} scales where natural compression has one")));
        };
        for &state in states {
            let state: i32 = state.into();
            let value = match state.unsigned_abs() {
                0 => 0.0,
                // Exact: a scale that is a power of two stays one.
                k @ 1..=278 => (f64::from(scale) * power(1 - k as i32)) as f32,
                _ => {
                    return Err(bad(values.len(), format!("state {state} of natural compression")));
                }
            };
            values.push(if state < 0 { -value } else { value });
        }
        Ok(())
    }
}
