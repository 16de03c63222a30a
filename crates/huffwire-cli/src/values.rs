//! Floating-point values of 16 and 32 bits.

use huffwire::ElementType;

/// Whether values of this type have an exact f32.
pub(crate) const fn is_float(element: ElementType) -> bool {
    matches!(element, ElementType::F32 | ElementType::Bf16 | ElementType::F16)
}

/// The values of little-endian elements of a type of which [`is_float`] is true. Exact.
pub(crate) fn read(element: ElementType, bytes: &[u8]) -> Vec<f32> {
    let words = || bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    match element {
        ElementType::Bf16 => words().map(|word| f32::from_bits(u32::from(word) << 16)).collect(),
        ElementType::F16 => words().map(from_f16).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
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
