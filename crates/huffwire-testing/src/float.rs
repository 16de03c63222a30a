//! Conversions of f32 values to smaller floating-point types, and to little-endian bytes.

/// The nearest bf16, ties to even, of a value that is not NaN.
#[must_use]
pub const fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The value of a bf16.
#[must_use]
pub const fn from_bf16(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The nearest e4m3, ties to even; magnitudes above 448 become 448.
#[must_use]
pub fn to_e4m3(value: f32) -> u8 {
    let magnitude = value.abs();
    // Spacing of e4m3 numbers around the magnitude: 3 mantissa bits, exponents from -6.
    let exponent = (magnitude.log2().floor() as i32).clamp(-6, 8);
    let steps = (magnitude / f32::exp2((exponent - 3) as f32)).round_ties_even() as i32;
    // 8 to 16 steps of a binade are codes 8 (e + 7 - 1) + steps; 16 is the next binade's first.
    let code = (8 * (exponent + 6) + steps).clamp(0, 126) as u8;
    code | u8::from(value.is_sign_negative()) << 7
}

/// Values as bf16, little-endian.
#[must_use]
pub fn to_bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| to_bf16(*value).to_le_bytes()).collect()
}

/// Values as f32, little-endian.
#[must_use]
pub fn to_f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Values as e4m3, scaled so that the largest magnitude becomes 448.
#[must_use]
pub fn to_scaled_e4m3_bytes(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = if largest > 0.0 { 448.0 / largest } else { 1.0 };
    values.iter().map(|value| to_e4m3(value * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_to_the_nearest() {
        for bits in [0u16, 1, 0x80, 0x3f80, 0xbf81, 0x7f7f] {
            assert_eq!(to_bf16(from_bf16(bits)), bits);
        }
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80, "a tie, to even");
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82, "a tie, to even");
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8001)), 0x3f81);
    }

    #[test]
    fn every_finite_e4m3_comes_back() {
        for code in 0..=126u8 {
            let (exponent, mantissa) = (i32::from(code >> 3), f32::from(code & 7));
            let value = match exponent {
                0 => mantissa * f32::exp2(-9.0),
                _ => (8.0 + mantissa) * f32::exp2((exponent - 10) as f32),
            };
            assert_eq!(to_e4m3(value), code);
            assert_eq!(to_e4m3(-value), code | 0x80);
        }
        assert_eq!(to_scaled_e4m3_bytes(&[0.5, -1.0, 0.0]), [0x76, 0xfe, 0]);
    }
}
