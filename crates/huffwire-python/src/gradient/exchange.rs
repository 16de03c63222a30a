//! Pieces of quantized gradients for links, from the memory of tensors to buffers and back.
use std::sync::{Mutex, MutexGuard, PoisonError};

use crc_fast::{CrcAlgorithm, checksum};
use huffwire::Error;
use huffwire::gradient::exchange::{ExchangeCodec as Codec, Piece, Restored};
use pyo3::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::quantizer::Spec;
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output, work};

/// Quantizes, codes and restores pieces: see `huffwire::gradient::exchange`. Floats are memory of f32.
#[pyclass(name = "_ExchangeCodec", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct ExchangeCodec(Mutex<Codec>);

impl ExchangeCodec {
    fn get(&self) -> MutexGuard<'_, Codec> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unaligned() -> PyErr {
    Class::Mismatch
        .error("memory that is no f32 of this machine: its length or its address is wrong")
}

fn floats(bytes: &[u8]) -> PyResult<&[f32]> {
    <[f32]>::ref_from_bytes(bytes).map_err(|_| unaligned())
}

fn floats_mut(bytes: &mut [u8]) -> PyResult<&mut [f32]> {
    <[f32]>::mut_from_bytes(bytes).map_err(|_| unaligned())
}

/// A piece of these floats.
fn piece<'a>(
    piece: Piece<'a>,
    error: Option<&'a mut [f32]>,
    (seed, first, decay): (u64, u64, f32),
) -> Piece<'a> {
    let piece = piece.seed(seed).first(first);
    match error {
        Some(error) => piece.error(error, decay),
        None => piece,
    }
}

/// What becomes of restored floats: with 0 they replace what is there, with 1 they are added, and with any other number
/// the sums are divided by it.
fn restored(floats: &mut [f32], divisor: u32) -> Restored<'_> {
    match divisor {
        0 => Restored::Put(floats),
        1 => Restored::Add(floats),
        _ => Restored::Mean(floats, divisor as f32),
    }
}

/// What was encoded: the bytes of a piece, their CRC-32C, and how many of its buckets are not finite.
type Sent = (usize, u32, usize);

fn encode(
    codec: &mut Codec,
    piece: Piece<'_>,
    restored: Option<Restored<'_>>,
    out: &mut [u8],
) -> Result<Sent, Error> {
    let sent = codec.encode(piece, restored, out)?;
    let checksum = checksum(CrcAlgorithm::Crc32Iscsi, &out[..sent.bytes]) as u32;
    Ok((sent.bytes, checksum, sent.not_finite))
}

#[pymethods]
impl ExchangeCodec {
    #[new]
    fn new(py: Python<'_>, quantizer: Spec) -> PyResult<Self> {
        let codec = py.detach(|| Codec::new(quantizer.0)).map_err(of_codec)?;
        Ok(Self(Mutex::new(codec)))
    }

    /// A hash of the quantizer and of its codebooks.
    #[getter]
    fn id(&self, py: Python<'_>) -> String {
        py.detach(|| self.get().id()).to_string()
    }

    /// The most bytes of a piece of so many elements.
    fn bound(&self, py: Python<'_>, elements: usize) -> usize {
        py.detach(|| self.get().bound(elements))
    }

    /// Quantizes floats, and writes the piece to `out`. The kept error is replaced. What receivers will restore goes to the
    /// target, if there is one.
    #[pyo3(signature = (source, error, out, target, place, /))]
    fn encode(
        &self,
        py: Python<'_>,
        source: Input,
        mut error: Option<Output>,
        mut out: Output,
        mut target: Option<Output>,
        place: (u64, u64, f32),
    ) -> PyResult<Sent> {
        let source = source.bytes();
        let out = out.apart_from(&[source])?;
        let error = match &mut error {
            Some(error) => Some(floats_mut(error.apart_from(&[source, out])?)?),
            None => None,
        };
        let target = match &mut target {
            Some(target) => {
                let kept = error.as_deref().map_or(&[][..], IntoBytes::as_bytes);
                let target = target.apart_from(&[source, out, kept])?;
                Some(Restored::Put(floats_mut(target)?))
            }
            None => None,
        };
        let piece = piece(Piece::new(floats(source)?), error, place);
        work(py, source.len(), || encode(&mut self.get(), piece, target, out)).map_err(of_codec)
    }

    /// Quantizes floats and restores them at once, as if they were sent and received: see [`restored`]. Returns how many
    /// buckets are not finite.
    #[pyo3(signature = (source, error, target, divisor, place, /))]
    fn keep(
        &self,
        py: Python<'_>,
        source: Input,
        error: Option<Output>,
        mut target: Output,
        divisor: u32,
        place: (u64, u64, f32),
    ) -> PyResult<usize> {
        let source = source.bytes();
        let (mut error, target) = (error, target.apart_from(&[source])?);
        let error = match &mut error {
            Some(error) => Some(floats_mut(error.apart_from(&[source, target])?)?),
            None => None,
        };
        let piece = piece(Piece::new(floats(source)?), error, place);
        let target = restored(floats_mut(target)?, divisor);
        work(py, source.len(), || self.get().keep(piece, target)).map_err(of_codec)
    }

    /// Decodes a piece with this CRC-32C, and restores its floats: see [`restored`]. The target has room for exactly so
    /// many.
    #[pyo3(signature = (message, due, target, divisor, /))]
    fn decode(
        &self,
        py: Python<'_>,
        message: Input,
        due: u32,
        mut target: Output,
        divisor: u32,
    ) -> PyResult<()> {
        let message = message.bytes();
        let target = target.apart_from(&[message])?;
        let bytes = target.len();
        let target = restored(floats_mut(target)?, divisor);
        work(py, bytes, || {
            if checksum(CrcAlgorithm::Crc32Iscsi, message) as u32 != due {
                return Err(Class::Damaged.error("its payload has another checksum"));
            }
            self.get().decode(message, target).map_err(of_codec)
        })
    }
}
