//! Natural compression: the sign and a power of two.

use super::super::values::Value;
use super::{Parts, bad};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// The highest value: the number of exponents of f32, those of subnormal numbers included.
pub(super) const VALUES: i32 = 278;

/// Natural compression (Horváth et al., "Natural Compression for Distributed Deep Learning", 2019,
/// definition 1): a float between two powers of two becomes one of the two, drawn so that the mean is right.
///
/// `E[C(x)] = x` and `E‖C(x)‖² ≤ 9/8 ‖x‖²` (theorem 1).
///
/// The tensor has one scale, a power of two that no float exceeds. The value `±k` stands for `±scale · 2^(1 - k)`, and 0
/// for 0. So values do not depend on the magnitude of the gradient, and most fit a byte. Floats of 2¹²⁷ and more are
/// [`Error::Unquantizable`], because they could be rounded beyond the range of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Natural;

/// The exponent of the power of two at or below a positive number.
fn exponent(float: f32) -> i32 {
    // Every f32 but 0 is a normal number as f64.
    (f64::from(float).to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// A power of two.
const fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Natural {
    #[inline(always)]
    pub(super) fn quantize(self, gradient: &[f32], random: Random) -> Result<Parts> {
        let largest = gradient.iter().fold(0.0f32, |largest, float| largest.max(float.abs()));
        if largest == 0.0 {
            return Ok((vec![0; gradient.len()], vec![0.0]));
        }
        if exponent(largest) == 127 {
            let index = gradient.iter().position(|float| float.abs() == largest);
            let detail = "natural compression takes floats below 2^127";
            return Err(Error::unquantizable(index.unwrap_or(0), detail));
        }
        let whole = f64::from(largest) == power(exponent(largest));
        let top = exponent(largest) + i32::from(!whole);
        let value = |(index, &float): (usize, &f32)| {
            let magnitude = float.abs();
            if magnitude == 0.0 {
                return 0;
            }
            let low = exponent(magnitude);
            let up = f64::from(magnitude) / power(low) - 1.0;
            let rounded = low + i32::from(random.uniform(index as u64) < up);
            let value = top - rounded + 1;
            if float < 0.0 { -value } else { value }
        };
        let values = gradient.iter().enumerate().map(value).collect();
        Ok((values, vec![power(top) as f32]))
    }

    #[inline(always)]
    pub(super) fn dequantize<S: Value>(
        self,
        values: &[S],
        scales: &[f32],
        floats: &mut Vec<f32>,
    ) -> Result<()> {
        let &[scale] = scales else {
            let found = scales.len();
            return Err(bad(0, format!("{found} scales where natural compression has one")));
        };
        for &value in values {
            let value: i32 = value.into();
            let float = match value.unsigned_abs() {
                0 => 0.0,
                // Exact: a scale that is a power of two stays one.
                k @ 1..=278 => (f64::from(scale) * power(1 - k as i32)) as f32,
                _ => {
                    return Err(bad(floats.len(), format!("value {value} of natural compression")));
                }
            };
            floats.push(if value < 0 { -float } else { float });
        }
        Ok(())
    }
}
