//! Elements of float types as f32, and back.
use std::borrow::Cow;

use half::{bf16, f16};
use huffwire::Dtype;
use pyo3::prelude::*;
use zerocopy::FromBytes;

use crate::error::{Class, of_codec};
use crate::options::dtype_of;

/// Elements of a type as f32: the same memory where it is of f32 already, and begins at a multiple of 4.
pub(super) fn floats(dtype: Dtype, bytes: &[u8]) -> PyResult<Cow<'_, [f32]>> {
    if !bytes.len().is_multiple_of(dtype.unit_bytes()) {
        return Err(of_codec(huffwire::Error::PartialElement { dtype, bytes: bytes.len() }));
    }
    let words = || bytes.as_chunks().0.iter();
    Ok(match dtype {
        Dtype::F32 => match <[f32]>::ref_from_bytes(bytes) {
            Ok(floats) if cfg!(target_endian = "little") => Cow::Borrowed(floats),
            _ => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        },
        Dtype::Bf16 => words().map(|word| bf16::from_le_bytes(*word).to_f32()).collect(),
        Dtype::F16 => words().map(|word| f16::from_le_bytes(*word).to_f32()).collect(),
        _ => {
            return Err(Class::Unsupported.error(format!(
                "a gradient of {dtype}: gradients of f32, bf16 and f16 can be quantized; convert it to one of these"
            )));
        }
    })
}

/// Writes f32 as elements of a type: 16 bits are rounded to nearest, ties to even.
pub(super) fn write_floats(floats: &[f32], dtype: Dtype, out: &mut [u8]) {
    match dtype {
        Dtype::Bf16 => fill(out, floats, |float| bf16::from_f32(float).to_le_bytes()),
        Dtype::F16 => fill(out, floats, |float| f16::from_f32(float).to_le_bytes()),
        _ => fill(out, floats, f32::to_le_bytes),
    }
}

pub(super) fn fill<T: Copy, const N: usize>(
    out: &mut [u8],
    items: &[T],
    bytes: impl Fn(T) -> [u8; N],
) {
    out.as_chunks_mut().0.iter_mut().zip(items).for_each(|(out, &item)| *out = bytes(item));
}

/// Checks that an output has so many bytes.
pub(super) fn check_size(out: &[u8], due: usize) -> PyResult<()> {
    if out.len() == due {
        return Ok(());
    }
    let available = out.len();
    Err(of_codec(huffwire::Error::OutputLength { needed: due, available }))
}

/// The type of floats that were quantized.
pub(super) fn float_type(name: &str) -> PyResult<Dtype> {
    let dtype = dtype_of(name)?;
    match dtype {
        Dtype::F32 | Dtype::Bf16 | Dtype::F16 => Ok(dtype),
        _ => Err(Class::Unsupported
            .error(format!("floats of {dtype}: quantized gradients are f32, bf16 or f16"))),
    }
}
