//! Floats of 16 and 32 bits as f32.

use half::{bf16, f16};
use huffwire::Dtype;

/// Whether floats of this type have an exact f32.
pub(crate) const fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::Bf16 | Dtype::F16)
}

/// The floats of little-endian elements of a type of which [`is_float`] is true. Exact.
pub(crate) fn read(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let words = || bytes.as_chunks().0.iter();
    match dtype {
        Dtype::Bf16 => words().map(|word| bf16::from_le_bytes(*word).to_f32()).collect(),
        Dtype::F16 => words().map(|word| f16::from_le_bytes(*word).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_every_type_are_read() {
        assert_eq!(read(Dtype::Bf16, &[0x80, 0x3f, 0x00, 0xc0, 0x80]), [1.0, -2.0]);
        assert_eq!(read(Dtype::F16, &[0x00, 0x3c, 0x01, 0x80]), [1.0, -f32::powi(2.0, -24)]);
        assert_eq!(read(Dtype::F32, &1.5f32.to_le_bytes()), [1.5]);
        assert!(is_float(Dtype::F16) && !is_float(Dtype::F64) && !is_float(Dtype::Word16));
    }
}
