//! Encoding and decoding of messages. `huffwire/_buffers.py`, `numpy.py` and `torch.py` call these functions; they
//! have what Python callers see.

use std::time::Instant;

use huffwire::message::{self, Header};
use huffwire::{Decoder, Dtype, Error, Expected, Platform, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::codebooks::Codebooks;
use crate::coders;
use crate::error::of_codec;
use crate::memory::{Input, Output, new_bytes, work};
use crate::options::{DecoderSets, Encoding, block_log2_of, dtype_of, expected, whole_number};
use crate::threads::threads;

/// Header of a message: what can be known without decoding it.
#[pyclass(frozen, get_all, module = "huffwire", skip_from_py_object)]
pub(crate) struct MessageHeader {
    /// What the message holds: "tensor" or "quantized values".
    kind: &'static str,
    /// The element type, by huffwire's name.
    dtype: &'static str,
    /// Number of elements.
    elements: u64,
    /// Bytes of the elements.
    size: u64,
    /// Whether each block has a checksum.
    checksums: bool,
    /// Whether the message belongs to a context.
    has_context: bool,
    /// The first 8 of the 16 hexadecimal digits of the id of the codebooks.
    codebooks: String,
    /// The most bytes of elements in a block (of quantized values: the most values).
    block_size: u64,
}

#[pymethods]
impl MessageHeader {
    fn __repr__(&self) -> String {
        let Self { kind, dtype, elements, size, .. } = self;
        format!("<MessageHeader: {kind}, {elements} elements of {dtype}, {size} bytes>")
    }
}

/// The name of the instruction set that the coders of this process use, such as "avx512".
///
/// The environment variable `HUFFWIRE_PLATFORM` selects another one before the first use. The data are the same.
///
/// >>> import huffwire
/// >>> huffwire.platform() in ("portable", "avx2", "avx512", "neon")
/// True
#[pyfunction]
pub(crate) fn platform() -> &'static str {
    Platform::detect().name()
}

/// huffwire's own name of an element type, which may be given by any name that huffwire knows.
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn _dtype_name(name: &str) -> PyResult<&'static str> {
    Ok(dtype_of(name)?.name())
}

#[pyfunction]
#[pyo3(signature = (message, context, /))]
pub(crate) fn _inspect(
    message: Input,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<MessageHeader> {
    let header = Header::read(message.bytes(), context).map_err(of_codec)?;
    let size = header.raw_bytes().map_err(of_codec)? as u64;
    Ok(MessageHeader {
        kind: header.kind.name(),
        dtype: header.dtype.name(),
        elements: header.dtype.values_in(size).unwrap_or_default(),
        size,
        checksums: header.checksums,
        has_context: header.has_context,
        codebooks: header.set.iter().map(|byte| format!("{byte:02x}")).collect(),
        block_size: 1 << header.block_log2,
    })
}

#[pyfunction]
#[pyo3(signature = (dtype, bytes, block_size=None, /))]
pub(crate) fn _max_encoded_size(
    dtype: &str,
    bytes: usize,
    #[pyo3(from_py_with = whole_number)] block_size: Option<u64>,
) -> PyResult<usize> {
    bound(dtype_of(dtype)?, bytes, block_log2_of(block_size)?).map_err(of_codec)
}

fn bound(dtype: Dtype, bytes: usize, block_log2: u8) -> Result<usize, Error> {
    if dtype.values_in(bytes as u64).is_none() {
        return Err(Error::PartialElement { dtype, bytes });
    }
    let units = bytes / dtype.unit_bytes();
    Ok(message::bound(dtype, units, block_log2))
}

pub(crate) fn tensor(dtype: Dtype, bytes: &[u8], context: Option<u64>) -> Tensor<'_> {
    let tensor = Tensor::new(dtype, bytes);
    if let Some(context) = context { tensor.in_context(context) } else { tensor }
}

#[pyfunction]
#[pyo3(signature = (source, dtype, level, symbols, codebooks, checksums, threads, context, block_size=None, /))]
#[expect(clippy::too_many_arguments, reason = "they are what Python callers may choose")]
pub(crate) fn _encode<'py>(
    py: Python<'py>,
    source: Input,
    dtype: &str,
    level: &str,
    symbols: &str,
    codebooks: Option<PyRef<'_, Codebooks>>,
    checksums: bool,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] block_size: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let encoding = Encoding::new(level, symbols, codebooks.as_deref(), checksums)?;
    let encoding = encoding.block_size(block_size)?;
    let (dtype, bytes) = (dtype_of(dtype)?, source.bytes());
    let threads = self::threads(py, threads, bytes.len())?;
    let tensor = tensor(dtype, bytes, context);
    coders::with_scratch(|scratch| {
        let length = coders::with_encoder(&encoding, |encoder| {
            encoder.set_threads(threads);
            let length = work(py, bytes.len(), || {
                coders::lengthen(scratch, bound(dtype, bytes.len(), encoding.options.block_log2)?)?;
                encoder.encode_tensor(&tensor, scratch)
            });
            length.map_err(of_codec)
        })?;
        let coded = &scratch[..length];
        let fill = |out: &mut [u8]| {
            out.copy_from_slice(coded);
            Ok(())
        };
        new_bytes(py, length, fill, of_codec)
    })
}

#[pyfunction]
#[pyo3(signature = (source, dtype, out, level, symbols, codebooks, checksums, threads, context, block_size=None, /))]
#[expect(clippy::too_many_arguments, reason = "they are what Python callers may choose")]
pub(crate) fn _encode_into(
    py: Python<'_>,
    source: Input,
    dtype: &str,
    mut out: Output,
    level: &str,
    symbols: &str,
    codebooks: Option<PyRef<'_, Codebooks>>,
    checksums: bool,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] block_size: Option<u64>,
) -> PyResult<usize> {
    let encoding = Encoding::new(level, symbols, codebooks.as_deref(), checksums)?;
    let encoding = encoding.block_size(block_size)?;
    let (dtype, bytes) = (dtype_of(dtype)?, source.bytes());
    let out = out.apart_from(&[bytes])?;
    let threads = self::threads(py, threads, bytes.len())?;
    let tensor = tensor(dtype, bytes, context);
    coders::with_encoder(&encoding, |encoder| {
        encoder.set_threads(threads);
        work(py, bytes.len(), || encoder.encode_tensor(&tensor, out)).map_err(of_codec)
    })
}

/// The element type of a message and the bytes of its elements, after everything about the message was checked that
/// can be before its blocks are decoded.
#[pyfunction]
#[pyo3(signature = (message, codebooks, context, max_size, /))]
pub(crate) fn _check(
    message: Input,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] max_size: Option<usize>,
) -> PyResult<(&'static str, usize)> {
    let expected = expected(None, context, max_size);
    coders::with_decoder(&codebooks.0, |decoder| {
        let (header, bytes) = check(decoder, message.bytes(), &expected)?;
        Ok((header.dtype.name(), bytes))
    })
}

/// The header of a message and the bytes of its elements. The header and the table were read then, and compared with
/// the message's length.
fn check(decoder: &mut Decoder, message: &[u8], expected: &Expected) -> PyResult<(Header, usize)> {
    let header = decoder.decode_range(message, expected, 0..0, &mut []).map_err(of_codec)?;
    Ok((header, header.raw_bytes().map_err(of_codec)?))
}

#[pyfunction]
#[pyo3(signature = (message, dtype, codebooks, threads, context, max_size, /))]
pub(crate) fn _decode<'py>(
    py: Python<'py>,
    message: Input,
    dtype: Option<&str>,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] max_size: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let dtype = dtype.map(dtype_of).transpose()?;
    let expected = expected(dtype, context, max_size);
    let message = message.bytes();
    coders::with_decoder(&codebooks.0, |decoder| {
        let (_, bytes) = check(decoder, message, &expected)?;
        decoder.set_threads(self::threads(py, threads, bytes)?);
        let fill = |out: &mut [u8]| decoder.decode_expected(message, &expected, out).map(|_| ());
        new_bytes(py, bytes, fill, of_codec)
    })
}

#[pyfunction]
#[pyo3(signature = (message, dtype, out, codebooks, threads, context, max_size, /))]
#[expect(clippy::too_many_arguments, reason = "they are what Python callers may choose")]
pub(crate) fn _decode_into(
    py: Python<'_>,
    message: Input,
    dtype: Option<&str>,
    mut out: Output,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] max_size: Option<usize>,
) -> PyResult<usize> {
    let dtype = dtype.map(dtype_of).transpose()?;
    let expected = expected(dtype, context, max_size);
    let message = message.bytes();
    let out = out.apart_from(&[message])?;
    coders::with_decoder(&codebooks.0, |decoder| {
        // What can be found out beforehand leaves the output as it was.
        let (_, bytes) = check(decoder, message, &expected)?;
        if bytes != out.len() {
            return Err(of_codec(Error::OutputLength { needed: bytes, available: out.len() }));
        }
        decoder.set_threads(self::threads(py, threads, bytes)?);
        let decoded = work(py, bytes, || decoder.decode_expected(message, &expected, out));
        decoded.map_err(of_codec)?;
        Ok(bytes)
    })
}

/// Seconds that each of `repeats` rounds of encoding and decoding the same tensor takes with the library alone, for
/// comparisons with what Python callers reach: pairs of seconds to encode and to decode.
#[pyfunction]
#[pyo3(signature = (source, dtype, out, restored, threads, repeats, /))]
pub(crate) fn _measure(
    py: Python<'_>,
    source: Input,
    dtype: &str,
    mut out: Output,
    mut restored: Output,
    #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
    repeats: usize,
) -> PyResult<Vec<(f64, f64)>> {
    let (dtype, bytes) = (dtype_of(dtype)?, source.bytes());
    let out = out.apart_from(&[bytes])?;
    let restored = restored.apart_from(&[bytes, out])?;
    let encoding = Encoding::new("fast", "auto", None, true)?;
    let threads = self::threads(py, threads, bytes.len())?;
    coders::with_encoder(&encoding, |encoder| {
        coders::with_decoder(&[], |decoder| {
            encoder.set_threads(threads.clone());
            decoder.set_threads(threads);
            let mut round = || {
                let start = Instant::now();
                let length = encoder.encode(dtype, bytes, out)?;
                let encoded = start.elapsed().as_secs_f64();
                let start = Instant::now();
                decoder.decode(&out[..length], restored)?;
                Ok((encoded, start.elapsed().as_secs_f64()))
            };
            py.detach(|| (0..repeats).map(|_| round()).collect::<Result<_, _>>()).map_err(of_codec)
        })
    })
}
