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

/// The first finite float for which this type has no finite element, if there is one.
pub(crate) fn first_beyond(dtype: Dtype, floats: &[f32]) -> Option<usize> {
    let is_held = |float: f32| match dtype {
        Dtype::Bf16 => bf16::from_f32(float).is_finite(),
        Dtype::F16 => f16::from_f32(float).is_finite(),
        _ => true,
    };
    floats.iter().position(|&float| float.is_finite() && !is_held(float))
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

    #[test]
    fn floats_beyond_the_range_are_found() {
        let floats = [f32::INFINITY, 65519.0, 65520.0, f32::MAX];
        assert_eq!(first_beyond(Dtype::F16, &floats), Some(2));
        assert_eq!(first_beyond(Dtype::Bf16, &floats), Some(3));
        assert_eq!(first_beyond(Dtype::F32, &floats), None);
    }
}
