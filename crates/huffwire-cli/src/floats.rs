//! Floats of 16 and 32 bits, in both directions.

use anyhow::{Result, bail};
use huffwire::Dtype;

/// Whether floats of this type have an exact f32.
pub(crate) const fn is_float(element: Dtype) -> bool {
    matches!(element, Dtype::F32 | Dtype::Bf16 | Dtype::F16)
}

/// The floats of little-endian elements of a type of which [`is_float`] is true. Exact.
pub(crate) fn read(element: Dtype, bytes: &[u8]) -> Vec<f32> {
    let words = || bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    match element {
        Dtype::Bf16 => words().map(|word| f32::from_bits(u32::from(word) << 16)).collect(),
        Dtype::F16 => words().map(from_f16).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
}

/// Appends floats as little-endian elements, rounded to nearest, ties to even; `first` is the number of the first
/// one in its tensor.
///
/// An error for a float that is finite and has no finite element near it.
pub(crate) fn write(element: Dtype, floats: &[f32], first: u64, out: &mut Vec<u8>) -> Result<()> {
    out.reserve(floats.len().saturating_mul(element.unit_bytes()));
    for (index, &float) in (first..).zip(floats) {
        let word = match element {
            Dtype::Bf16 => to_bf16(float),
            Dtype::F16 => to_f16(float),
            _ => {
                out.extend_from_slice(&float.to_le_bytes());
                continue;
            }
        };
        let Some(word) = word else {
            bail!("element {index}, {float}, exceeds the range of {element}; pass --as f32");
        };
        out.extend_from_slice(&word.to_le_bytes());
    }
    Ok(())
}

fn from_f16(word: u16) -> f32 {
    let sign = if word >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (word >> 10 & 31, word & 1023);
    let magnitude = match (exponent, mantissa) {
        (0, mantissa) => f32::from(mantissa) * 2f32.powi(-24),
        (31, 0) => f32::INFINITY,
        (31, _) => f32::NAN,
        (exponent, mantissa) => f32::from(1024 + mantissa) * 2f32.powi(i32::from(exponent) - 25),
    };
    sign * magnitude
}

/// The nearest bf16; `None` where that is infinite.
fn to_bf16(float: f32) -> Option<u16> {
    let bits = float.to_bits();
    let rounded = bits.checked_add(0x7fff + (bits >> 16 & 1))? >> 16;
    (rounded & 0x7fff < 0x7f80).then_some(rounded as u16)
}

/// The nearest f16; `None` where that is infinite.
fn to_f16(float: f32) -> Option<u16> {
    let sign = ((float.to_bits() >> 31) as u16) << 15;
    let magnitude = f64::from(float.abs());
    // The exponent of the unit in the last place: that of subnormal numbers, or 10 below the float's.
    let exponent = (magnitude.to_bits() >> 52) as i32 - 1023;
    let last = exponent.max(-14) - 10;
    // At most 2048, a carry into the exponent included; exact, since a power of two divides.
    let units = (magnitude / 2f64.powi(last)).round_ties_even();
    let word = f64::from((last + 24) * 1024) + units;
    (word < f64::from(0x7c00)).then_some(sign | word as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_of_16_bits_comes_back() {
        for element in [Dtype::Bf16, Dtype::F16] {
            for word in 0..=u16::MAX {
                let float = read(element, &word.to_le_bytes())[0];
                let mut bytes = Vec::new();
                let written = write(element, &[float], 0, &mut bytes);
                assert_eq!(written.is_ok(), float.is_finite(), "{element} {word:04x}");
                if float.is_finite() {
                    assert_eq!(bytes, word.to_le_bytes(), "{element} {float}");
                }
            }
        }
    }

    #[test]
    fn what_lies_between_is_rounded_to_the_nearest() {
        for element in [Dtype::Bf16, Dtype::F16] {
            for word in [0u16, 1, 2, 0x3ff, 0x400, 0x3c00, 0x3c01, 0x7bfe] {
                let of = |word: u16| read(element, &word.to_le_bytes())[0];
                let to = |float: f32| {
                    let mut bytes = Vec::new();
                    write(element, &[float], 0, &mut bytes).unwrap();
                    u16::from_le_bytes([bytes[0], bytes[1]])
                };
                let middle = of(word).midpoint(of(word + 1));
                assert_eq!(to(middle), word + (word & 1), "{element} {word:04x}");
                assert_eq!(to(middle.next_down()), word, "{element} {word:04x}");
                assert_eq!(to(middle.next_up()), word + 1, "{element} {word:04x}");
            }
        }
        assert_eq!((to_f16(65519.9), to_f16(65520.0)), (Some(0x7bff), None));
        assert_eq!((to_f16(-1e-30), to_bf16(f32::MAX)), (Some(0x8000), None));
    }
}
