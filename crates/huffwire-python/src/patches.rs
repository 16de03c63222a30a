//! Patches of tensors as SGLang and slime exchange them, for `huffwire.sync.disk_delta`. `docs/disk-delta.md` describes
//! them: an exclusive-or of all bytes, or positions and values of the bytes that changed, compressed with zstd, and a
//! checksum of the new tensor.

mod checksum;
mod patch;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use self::checksum::Checksum;
use self::patch::{CHUNK, Encoding, Patch};
use crate::error::Class;
use crate::memory::{Input, Output, work};

/// The patch that turns `base` into `new`: how many bytes change, the patch, and the checksum of `new`. Where nothing
/// changes there is neither patch nor checksum.
///
/// # Errors
/// `MismatchError` for other sizes, `LimitError` for a tensor that is too large for its encoding.
#[pyfunction]
#[pyo3(signature = (encoding, checksum, base, new, /))]
pub(crate) fn _patch<'py>(
    py: Python<'py>,
    encoding: &str,
    checksum: &str,
    base: Input,
    new: Input,
) -> PyResult<(usize, Option<Bound<'py, PyBytes>>, Option<String>)> {
    let (encoding, mut checksum) = (Encoding::named(encoding)?, Checksum::named(checksum)?);
    let (base, new) = (base.bytes(), new.bytes());
    if base.len() != new.len() {
        let (base, new) = (base.len(), new.len());
        return Err(Class::Mismatch.error(format!("{new} bytes, and {base} before")));
    }
    let made = work(py, new.len(), || {
        let changes = patch::changes(base, new);
        if changes == 0 {
            return Ok(None);
        }
        let patch = patch::make(encoding, base, new, changes)?;
        checksum.update(new);
        Ok::<_, PyErr>(Some((changes, patch, checksum.digits())))
    })?;
    Ok(match made {
        None => (0, None, None),
        Some((changes, patch, digits)) => (changes, Some(PyBytes::new(py, &patch)), Some(digits)),
    })
}

/// Applies a patch to a copy of `base` of which it keeps little, and compares the checksum of what comes out. Returns how
/// many bytes change.
///
/// # Errors
/// `DamagedError` for a damaged patch, `WrongBaseError` for another checksum.
#[pyfunction]
#[pyo3(signature = (encoding, checksum, patch, base, due, /))]
pub(crate) fn _check_patch(
    py: Python<'_>,
    encoding: &str,
    checksum: &str,
    patch: Input,
    base: Input,
    due: &str,
) -> PyResult<usize> {
    let (encoding, mut checksum) = (Encoding::named(encoding)?, Checksum::named(checksum)?);
    let (patch, base) = (patch.bytes(), base.bytes());
    let (changes, found) = work(py, base.len(), || {
        let mut changes = 0;
        each_chunk(encoding, patch, base, |base, new| {
            checksum.update(new);
            changes += patch::changes(base, new);
            Ok(())
        })?;
        Ok::<_, PyErr>((changes, checksum.digits()))
    })?;
    if found == due {
        return Ok(changes);
    }
    Err(Class::WrongBase.error(format!(
        "the delta makes a tensor with the checksum {found} where {due:?} was expected: the delta is damaged, or the \
         tensor is not the one that it was made for"
    )))
}

/// Applies a patch that `_check_patch` has checked.
///
/// # Errors
/// `DamagedError` for a damaged patch; the tensor is then undefined.
#[pyfunction]
#[pyo3(signature = (encoding, patch, target, /))]
pub(crate) fn _apply_patch(
    py: Python<'_>,
    encoding: &str,
    patch: Input,
    mut target: Output,
) -> PyResult<()> {
    let encoding = Encoding::named(encoding)?;
    let bytes = patch.bytes();
    let target = target.apart_from(&[bytes])?;
    work(py, target.len(), || {
        let mut patch = Patch::new(encoding, bytes, target.len())?;
        target.chunks_mut(CHUNK).try_for_each(|chunk| patch.apply(chunk))?;
        patch.finish()
    })
}

/// What a patch changes in elements of so many bytes: their places as numbers of eight bytes, and their new values.
///
/// # Errors
/// `DamagedError` for a damaged patch, `OutOfMemoryError`.
#[pyfunction]
#[pyo3(signature = (encoding, patch, base, element, /))]
pub(crate) fn _changes_of_patch<'py>(
    py: Python<'py>,
    encoding: &str,
    patch: Input,
    base: Input,
    element: usize,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let encoding = Encoding::named(encoding)?;
    let (patch, base) = (patch.bytes(), base.bytes());
    if !CHUNK.is_multiple_of(element) || !base.len().is_multiple_of(element) {
        return Err(Class::Mismatch
            .error(format!("{} bytes are no elements of {element} bytes each", base.len())));
    }
    let (places, values) = work(py, base.len(), || {
        let (mut places, mut values) = (Vec::new(), Vec::new());
        let mut at = 0u64;
        each_chunk(encoding, patch, base, |base, new| {
            let pairs = base.chunks_exact(element).zip(new.chunks_exact(element));
            for (place, (_, new)) in (at..).zip(pairs).filter(|(_, (base, new))| base != new) {
                places.try_reserve(8).and_then(|()| values.try_reserve(element)).map_err(|_| {
                    Class::OutOfMemory.error("there is no memory for what a delta changes")
                })?;
                places.extend(place.to_le_bytes());
                values.extend(new);
            }
            at += (new.len() / element) as u64;
            Ok(())
        })?;
        Ok::<_, PyErr>((places, values))
    })?;
    Ok((PyBytes::new(py, &places), PyBytes::new(py, &values)))
}

/// Calls a function with each chunk of a tensor before and after a patch.
fn each_chunk(
    encoding: Encoding,
    patch: &[u8],
    base: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> PyResult<()>,
) -> PyResult<()> {
    let mut patch = Patch::new(encoding, patch, base.len())?;
    let mut scratch = vec![0; CHUNK.min(base.len())];
    for base in base.chunks(CHUNK) {
        let new = &mut scratch[..base.len()];
        new.copy_from_slice(base);
        patch.apply(new)?;
        each(base, new)?;
    }
    patch.finish()
}
