//! What `huffwire.distributed` needs of bytes that travel as they are.

use crc_fast::CrcAlgorithm;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::memory::{Input, Output, work};

/// How many bytes are copied and summed at a time: what is summed was just read.
const STEP: usize = 64 << 10;

/// Copies `source` to the start of `out`, and returns the CRC-32C of what was copied.
///
/// # Errors
/// `ValueError` if `out` is shorter.
#[pyfunction]
#[pyo3(signature = (source, out, /))]
pub(crate) fn _copy_checked(py: Python<'_>, source: Input, mut out: Output) -> PyResult<u32> {
    let source = source.bytes();
    let out = out.apart_from(&[source])?;
    let Some(out) = out.get_mut(..source.len()) else {
        return Err(PyValueError::new_err("the output is shorter than the input"));
    };
    Ok(work(py, source.len(), || {
        let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
        for (source, out) in source.chunks(STEP).zip(out.chunks_mut(STEP)) {
            digest.update(source);
            out.copy_from_slice(source);
        }
        digest.finalize() as u32
    }))
}

/// The CRC-32C of bytes.
#[pyfunction]
#[pyo3(signature = (source, /))]
pub(crate) fn _checksum(py: Python<'_>, source: Input) -> u32 {
    let source = source.bytes();
    work(py, source.len(), || crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, source) as u32)
}
