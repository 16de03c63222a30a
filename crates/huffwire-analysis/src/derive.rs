//! Smaller float types derived from larger ones: bf16, f16 and f32 values as e4m3, e5m2, e3m2, e2m3 or e2m1.
//!
//! The types are those of the OCP Microscaling Formats specification 1.0, section 5.3. Values are rounded to the nearest, ties
//! to even; what is larger than the largest value becomes that value. NaN becomes the largest value, too: an
//! analysis counts symbols, and three of the types have no NaN.

use half::{bf16, f16};
use huffwire::Dtype;

/// Values that share a scale in [`Scaling::Block`](crate::Scaling::Block).
pub(crate) const SCALE_BLOCK: usize = 32;

/// Small float type: a sign above `mantissa_bits` and an exponent.
#[derive(Debug, Clone, Copy)]
struct Small {
    mantissa_bits: u32,
    /// Exponent of the smallest normal value.
    lowest: i32,
    /// The code of the largest finite value, and that value.
    last: u32,
    largest: f32,
    /// Where the sign is.
    sign_at: u32,
}

const fn small(dtype: Dtype) -> Option<Small> {
    Some(match dtype {
        Dtype::E4m3 => {
            Small { mantissa_bits: 3, lowest: -6, last: 126, largest: 448.0, sign_at: 7 }
        }
        Dtype::E5m2 => {
            Small { mantissa_bits: 2, lowest: -14, last: 123, largest: 57344.0, sign_at: 7 }
        }
        Dtype::E3m2 => Small { mantissa_bits: 2, lowest: -2, last: 31, largest: 28.0, sign_at: 5 },
        Dtype::E2m3 => Small { mantissa_bits: 3, lowest: 0, last: 31, largest: 7.5, sign_at: 5 },
        Dtype::E2m1 => Small { mantissa_bits: 1, lowest: 0, last: 7, largest: 6.0, sign_at: 3 },
        _ => return None,
    })
}

/// Whether tensors can be converted to this type.
pub(crate) const fn can_derive(dtype: Dtype) -> bool {
    small(dtype).is_some()
}

/// Whether tensors of this type can be converted.
pub(crate) const fn can_read(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Bf16 | Dtype::F16 | Dtype::F32)
}

/// The values of little-endian elements of a type of which [`can_read`] is true, exactly.
pub(crate) fn read(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    values.clear();
    let halves = || bytes.as_chunks().0.iter();
    match dtype {
        Dtype::Bf16 => values.extend(halves().map(|word| bf16::from_le_bytes(*word).to_f32())),
        Dtype::F16 => values.extend(halves().map(|word| f16::from_le_bytes(*word).to_f32())),
        _ => values.extend(bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word))),
    }
}

/// The largest finite magnitude; 0 where there is none.
pub(crate) fn largest(values: &[f32]) -> f32 {
    let magnitude = |value: &f32| if value.is_finite() { value.abs() } else { 0.0 };
    values.iter().map(magnitude).fold(0.0, f32::max)
}

/// Converts values, scaled so that `largest` becomes the largest value of the type, and appends their codes: one a byte,
/// e2m1 two a byte, the first in the low half.
pub(crate) fn by_tensor(dtype: Dtype, largest: f32, values: &[f32], codes: &mut Vec<u8>) {
    let Some(small) = small(dtype) else { return };
    // Of subnormal tensors the quotient may be infinite.
    let scale = if largest > 0.0 { (small.largest / largest).min(f32::MAX) } else { 1.0 };
    pack(dtype, values.iter().map(|value| small.code(value * scale)), codes);
}

/// Converts values, of which [`SCALE_BLOCK`] share a power of two, and appends their codes.
pub(crate) fn by_block(dtype: Dtype, values: &[f32], codes: &mut Vec<u8>) {
    let Some(small) = small(dtype) else { return };
    let scaled = values.chunks(SCALE_BLOCK).flat_map(|block| {
        let scale = exp2(small.largest_exponent() - exponent(largest(block)));
        block.iter().map(move |value| small.code(value * scale))
    });
    pack(dtype, scaled, codes);
}

/// The exponents of the largest magnitudes of blocks of values as e8m0: but for a constant that is the type's, the scales
/// of [`by_block`].
pub(crate) fn block_scales(values: &[f32], scales: &mut Vec<u8>) {
    let scale = |block: &[f32]| (exponent(largest(block)) + 127).clamp(0, 254) as u8;
    scales.extend(values.chunks(SCALE_BLOCK).map(scale));
}

fn pack(dtype: Dtype, mut values: impl Iterator<Item = u8>, codes: &mut Vec<u8>) {
    if dtype != Dtype::E2m1 {
        codes.extend(values);
        return;
    }
    while let Some(low) = values.next() {
        codes.push(low | values.next().unwrap_or(0) << 4);
    }
}

/// The exponent of a magnitude, as `frexp` without its 1; -127 for zero and subnormal values.
const fn exponent(magnitude: f32) -> i32 {
    (magnitude.to_bits() >> 23 & 0xff) as i32 - 127
}

/// 2 to a power that a f32 holds; the nearest such power where it does not.
const fn exp2(power: i32) -> f32 {
    let power = if power < -126 {
        -126
    } else if power > 127 {
        127
    } else {
        power
    };
    f32::from_bits(((power + 127) as u32) << 23)
}

impl Small {
    const fn largest_exponent(self) -> i32 {
        exponent(self.largest)
    }

    /// The code of the nearest value.
    fn code(self, value: f32) -> u8 {
        let sign = value.to_bits() >> 31;
        // NaN fails the comparison.
        let magnitude = if value.abs() < self.largest { value.abs() } else { self.largest };
        let code = if magnitude < exp2(self.lowest) {
            let steps = magnitude * exp2(self.mantissa_bits as i32 - self.lowest);
            steps.round_ties_even() as u32
        } else {
            let bits = magnitude.to_bits();
            let shift = 23 - self.mantissa_bits;
            let rounded = (bits + (1 << (shift - 1)) - 1 + (bits >> shift & 1)) >> shift;
            // The exponent field counts from 1 at the smallest normal value.
            rounded - (((self.lowest + 126) as u32) << self.mantissa_bits)
        };
        (code.min(self.last) | sign << self.sign_at) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [Dtype; 5] = [Dtype::E4m3, Dtype::E5m2, Dtype::E3m2, Dtype::E2m3, Dtype::E2m1];

    /// The value of a code without a sign.
    fn value(small: Small, code: u32) -> f64 {
        let (exponent, mantissa) = (code >> small.mantissa_bits, code % (1 << small.mantissa_bits));
        let unit = f64::from(small.lowest - small.mantissa_bits as i32).exp2();
        match exponent {
            0 => f64::from(mantissa) * unit,
            _ => {
                let whole = f64::from((1 << small.mantissa_bits) + mantissa);
                whole * unit * f64::from(exponent - 1).exp2()
            }
        }
    }

    #[test]
    fn every_value_of_every_type_comes_back() {
        for dtype in TYPES {
            let small = small(dtype).unwrap();
            assert_eq!(value(small, small.last), f64::from(small.largest), "{dtype}");
            for code in 0..=small.last {
                let value = value(small, code) as f32;
                assert_eq!(u32::from(small.code(value)), code, "{dtype}");
                assert_eq!(u32::from(small.code(-value)), code | 1 << small.sign_at, "{dtype}");
            }
        }
    }

    #[test]
    fn values_become_the_nearest_and_halves_the_even() {
        for dtype in TYPES {
            let small = small(dtype).unwrap();
            for code in 0..small.last {
                let (low, high) = (value(small, code), value(small, code + 1));
                let at = |share: f64| u32::from(small.code((low + share * (high - low)) as f32));
                assert_eq!(at(0.49), code, "{dtype}");
                assert_eq!(at(0.51), code + 1, "{dtype}");
                assert_eq!(at(0.5), code + code % 2, "{dtype}");
            }
        }
    }

    #[test]
    fn what_is_too_large_or_no_number_becomes_the_largest() {
        for dtype in TYPES {
            let small = small(dtype).unwrap();
            for value in [f32::INFINITY, f32::NAN, f32::MAX, small.largest * 1.01] {
                assert_eq!(u32::from(small.code(value.abs())), small.last, "{dtype} {value}");
            }
        }
    }

    #[test]
    fn e4m3_is_that_of_the_tests() {
        let values = huffwire_testing::Random::new(5).tensor(10_000, -3.0, 2.0);
        let mut codes = Vec::new();
        by_tensor(Dtype::E4m3, largest(&values), &values, &mut codes);
        assert!(codes == huffwire_testing::float::to_scaled_e4m3_bytes(&values));
    }

    #[test]
    fn blocks_have_scales_of_their_own() {
        let mut values = vec![1.0; 32];
        values.extend([0.0625; 32]);
        values.push(0.0);
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        by_block(Dtype::E4m3, &values, &mut codes);
        block_scales(&values, &mut scales);
        // 256 is the power of two at e4m3's largest exponent.
        assert_eq!((codes[0], codes[32], codes[64]), (0x78, 0x78, 0));
        assert_eq!(scales, [127, 123, 0]);
        codes.clear();
        by_block(Dtype::E2m1, &values, &mut codes);
        assert_eq!((codes.len(), codes[0], codes[32]), (33, 0x66, 0));
    }

    #[test]
    fn tensors_without_a_number_are_converted() {
        for values in [[f32::NAN; 3], [0.0; 3], [f32::INFINITY; 3], [1e-45; 3]] {
            let mut codes = Vec::new();
            by_tensor(Dtype::E3m2, largest(&values), &values, &mut codes);
            by_block(Dtype::E3m2, &values, &mut codes);
            assert_eq!(codes.len(), 6);
        }
    }
}
