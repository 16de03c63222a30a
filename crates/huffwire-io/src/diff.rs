//! Which tensors of two files are the same.

use std::collections::HashMap;

use huffwire::Dtype;

use crate::error::{Error, Result};
use crate::tensors::{TensorFile, TensorRef};

/// Bytes of each file that are compared at a time.
const AT_ONCE: u64 = 4 << 20;

/// How a tensor differs between two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It does not: type, shape, order of elements and all bits are the same.
    Equal,
    /// So many of its elements have other bits.
    Changed {
        /// Elements that differ.
        changed: u64,
        /// All its elements.
        elements: u64,
    },
    /// Its type, its shape or the order of its elements is another one; the elements were not compared.
    Reshaped,
    /// Only the first file has it.
    OnlyFirst,
    /// Only the second file has it.
    OnlySecond,
}

/// Compares all tensors of two files: those of the first in its order, then those that only the second has. `found` is
/// called for each, with the tensor of the first file if there is one; `progress` with the number of bytes done since
/// its last call.
///
/// # Errors
/// Those of reading, and the first error of `found`.
pub fn diff<E: From<Error>>(
    first: &TensorFile,
    second: &TensorFile,
    mut found: impl FnMut(&TensorRef<'_>, Change) -> Result<(), E>,
    mut progress: impl FnMut(u64),
) -> Result<(), E> {
    let (ours, theirs) = (first.tensors(), second.tensors());
    let names = theirs.iter().map(|tensor| (tensor.info.name.as_str(), tensor));
    let mut others: HashMap<&str, &TensorRef<'_>> = names.collect();
    for tensor in &ours {
        let change = match others.remove(tensor.info.name.as_str()) {
            None => Change::OnlyFirst,
            Some(other) if !are_alike(tensor, other)? => Change::Reshaped,
            Some(other) => compare(tensor, other, &mut progress)?,
        };
        found(tensor, change)?;
    }
    for tensor in theirs.iter().filter(|tensor| others.contains_key(tensor.info.name.as_str())) {
        found(tensor, Change::OnlySecond)?;
    }
    first.check_length()?;
    Ok(second.check_length()?)
}

/// Whether types, shapes and orders are the same, so that elements can be compared.
fn are_alike(a: &TensorRef<'_>, b: &TensorRef<'_>) -> Result<bool> {
    let is_like = (a.dtype, &a.info.shape, a.bytes) == (b.dtype, &b.info.shape, b.bytes)
        && meaning(a.dtype, &a.info.dtype) == meaning(b.dtype, &b.info.dtype);
    // Elements in a row have only one order.
    let is_row = a.info.shape.iter().filter(|&&size| size > 1).count() < 2;
    Ok(is_like && (is_row || a.is_fortran_order()? == b.is_fortran_order()?))
}

/// What a type that is coded as mere bytes or words is in truth: as its file spells it. The other types say so
/// themselves, in whatever spelling.
fn meaning(dtype: Dtype, spelling: &str) -> Option<&str> {
    let is_word = matches!(dtype, Dtype::Word16 | Dtype::Word32 | Dtype::Word64);
    let is_itself = spelling.parse::<Dtype>() == Ok(dtype) || dtype.numpy_name() == Some(spelling);
    ((is_word || dtype == Dtype::U8) && !is_itself).then_some(spelling)
}

fn compare(a: &TensorRef<'_>, b: &TensorRef<'_>, progress: &mut impl FnMut(u64)) -> Result<Change> {
    let unit = a.dtype.unit_bytes() as u64;
    let step = AT_ONCE / unit * unit;
    let (mut changed, mut at) = (0, 0);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    while at < a.bytes {
        let end = a.bytes.min(at + step);
        let size = (end - at) as usize;
        ours.resize(size, 0);
        theirs.resize(size, 0);
        a.read_into(at, &mut ours)?;
        b.read_into(at, &mut theirs)?;
        if ours != theirs {
            changed += changed_elements(a.dtype, &ours, &theirs);
        }
        progress(end - at);
        at = end;
    }
    if changed == 0 {
        return Ok(Change::Equal);
    }
    let elements = a.dtype.values_in(a.bytes).unwrap_or(a.bytes);
    Ok(Change::Changed { changed, elements })
}

/// How many elements have other bits.
fn changed_elements(dtype: Dtype, a: &[u8], b: &[u8]) -> u64 {
    let bits = dtype.value_bits();
    let unit = dtype.unit_bytes();
    let word = |bytes: &[u8]| {
        let mut word = [0; 16];
        word[..bytes.len()].copy_from_slice(bytes);
        u128::from_le_bytes(word)
    };
    let units = a.chunks(unit).zip(b.chunks(unit)).filter(|(a, b)| a != b);
    let in_unit = |(a, b): (&[u8], &[u8])| {
        let differing = word(a) ^ word(b);
        // Some types have several elements in a unit.
        let places = (0..8 * unit).step_by(bits.max(1));
        let mask = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        places.filter(|place| (differing >> place) & mask != 0).count() as u64
    };
    units.map(in_unit).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted() {
        let a = [0u8; 48];
        let mut b = a;
        b[0] = 0x11;
        b[5] = 0x80;
        b[6] = 1;
        assert_eq!(changed_elements(Dtype::U8, &a, &b), 3);
        assert_eq!(changed_elements(Dtype::Bf16, &a, &b), 3);
        assert_eq!(changed_elements(Dtype::F32, &a, &b), 2);
        assert_eq!(changed_elements(Dtype::Complex128, &a, &b), 1);
        assert_eq!(changed_elements(Dtype::E2m1, &a, &b), 4, "two in the first byte");
        assert_eq!(changed_elements(Dtype::U8, &a, &a), 0);
    }

    #[test]
    fn types_are_told_by_any_spelling() {
        for (dtype, spellings) in [
            (Dtype::F32, &["F32", "<f4", "float32"][..]),
            (Dtype::U8, &["U8", "|u1", "uint8"]),
            (Dtype::Bf16, &["BF16", "<V2"]),
        ] {
            for spelling in spellings {
                assert_eq!(meaning(dtype, spelling), None, "{spelling}");
            }
        }
        assert_ne!(meaning(Dtype::Word32, ">f4"), meaning(Dtype::Word32, ">i4"));
        assert_ne!(meaning(Dtype::U8, "|S3"), meaning(Dtype::U8, "|u1"));
    }
}
