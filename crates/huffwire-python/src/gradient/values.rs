//! Quantized values, and streams of them.
use std::sync::Arc;

use huffwire::POISON;
use huffwire::gradient::encode::{self, Auto, Bitmap, EncoderKind, Fixed, Sh, Shs, ValueEncoder};
use huffwire::gradient::{Values, ValuesMut};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zerocopy::FromBytes;

use super::books::{BitmapBooks, FixedBook};
use super::floats::fill;
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output, work};

/// Memory as values; copied only where it does not begin at a multiple of 4.
pub(super) enum ValueMemory<'a> {
    Here(Values<'a>),
    Copied(Vec<i32>),
}

impl<'a> ValueMemory<'a> {
    pub(super) fn of(bytes: &'a [u8], wide: bool) -> PyResult<Self> {
        if !wide {
            return match <[i8]>::ref_from_bytes(bytes) {
                Ok(values) => Ok(Self::Here(values.into())),
                Err(_) => Err(Class::Other.error("bytes that are no values")),
            };
        }
        if !bytes.len().is_multiple_of(4) {
            let detail = format!("{} bytes are no values of 4 bytes each", bytes.len());
            return Err(Class::Mismatch.error(detail));
        }
        match <[i32]>::ref_from_bytes(bytes) {
            Ok(values) if cfg!(target_endian = "little") => Ok(Self::Here(values.into())),
            _ => {
                let words = bytes.as_chunks().0.iter();
                Ok(Self::Copied(words.map(|word| i32::from_le_bytes(*word)).collect()))
            }
        }
    }

    pub(super) fn view(&self) -> Values<'_> {
        match self {
            Self::Here(values) => *values,
            Self::Copied(values) => values[..].into(),
        }
    }
}

/// Memory of values, and whether each has four bytes.
pub(super) type ValueInput = (Input, bool);

/// An encoder by name, or books.
pub(crate) enum EncoderChoice {
    Kind(EncoderKind),
    Fixed(Arc<Fixed>),
    Bitmap(Arc<encode::BitmapBooks>),
}

impl<'py> FromPyObject<'_, 'py> for EncoderChoice {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(book) = object.cast::<FixedBook>() {
            return Ok(Self::Fixed(Arc::clone(&book.get().0)));
        }
        if let Ok(books) = object.cast::<BitmapBooks>() {
            return Ok(Self::Bitmap(Arc::clone(&books.get().0)));
        }
        let name: String = object.extract().map_err(|_| {
            Class::Option.error("encoder=: give the name of an encoder, a FixedBook or BitmapBooks")
        })?;
        name.parse().map(Self::Kind).map_err(of_codec)
    }
}

impl EncoderChoice {
    /// The encoder; `seed` is for those that take a sample, `runs` for the longest run of SHS.
    fn encoder(&self, alphabet: (i32, i32), seed: u64, runs: u32) -> Box<dyn ValueEncoder> {
        let (lowest, highest) = alphabet;
        match self {
            Self::Kind(EncoderKind::Sh) => Box::new(Sh::new(lowest, highest).with_seed(seed)),
            Self::Kind(EncoderKind::Shs) => {
                Box::new(Shs::new(lowest, highest).with_seed(seed).with_runs(runs))
            }
            Self::Kind(kind) => kind.encoder(alphabet),
            Self::Fixed(book) => Box::new(Fixed::clone(book)),
            Self::Bitmap(books) => Box::new(Bitmap::with_books(Arc::clone(books))),
        }
    }
}

/// The most values that may have codes from a sample.
const MOST_SAMPLED: i32 = 1 << 15;

/// The range of some values for encoders that sample. What lies outside takes an escape.
fn alphabet_of(values: Values<'_>) -> (i32, i32) {
    let (lowest, highest) = range(values);
    if i64::from(highest) - i64::from(lowest) < i64::from(MOST_SAMPLED) {
        (lowest, highest)
    } else {
        (lowest.max(-MOST_SAMPLED / 2), highest.min(MOST_SAMPLED / 2 - 1))
    }
}

/// The lowest and the highest of some values and 0.
fn range(values: Values<'_>) -> (i32, i32) {
    match values {
        Values::I8(values) => {
            let least = values.iter().fold(0, |least, &value| value.min(least));
            let most = values.iter().fold(0, |most, &value| value.max(most));
            (least.into(), most.into())
        }
        Values::I32(values) => {
            let least = values.iter().fold(0, |least, &value| value.min(least));
            (least, values.iter().fold(0, |most, &value| value.max(most)))
        }
    }
}

/// The stream of some values, its size, and the size of the codebooks in it.
#[pyfunction]
pub(crate) fn encode_values<'py>(
    py: Python<'py>,
    values: ValueInput,
    encoder: EncoderChoice,
    seed: u64,
    runs: u32,
) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let (memory, wide) = values;
    let values = ValueMemory::of(memory.bytes(), wide)?;
    stream(py, values.view(), None, &encoder, seed, runs)
}

pub(super) fn stream<'py>(
    py: Python<'py>,
    values: Values<'_>,
    alphabet: Option<(i32, i32)>,
    encoder: &EncoderChoice,
    seed: u64,
    runs: u32,
) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let encoded = work(py, values.len(), || {
        let alphabet = alphabet.unwrap_or_else(|| alphabet_of(values));
        let mut out = Vec::new();
        let sizes = encoder.encoder(alphabet, seed, runs).encode(values, &mut out)?;
        Ok::<_, huffwire::Error>((out, sizes.codebook))
    });
    let (bytes, codebook) = encoded.map_err(of_codec)?;
    Ok((PyBytes::new(py, &bytes), codebook))
}

/// The number of values that a stream claims to have.
#[pyfunction]
pub(crate) fn count_values(stream: Input) -> PyResult<usize> {
    encode::count(stream.bytes()).map_err(of_codec)
}

/// Decodes a stream into memory of values.
#[pyfunction]
pub(crate) fn decode_values(
    py: Python<'_>,
    stream: Input,
    encoder: EncoderChoice,
    mut output: Output,
    wide: bool,
) -> PyResult<()> {
    let stream = stream.bytes();
    let out = output.apart_from(&[stream])?;
    if wide && !out.len().is_multiple_of(4) {
        let detail = format!("an output of {} bytes for values of 4 bytes each", out.len());
        return Err(Class::Output.error(detail));
    }
    let decoded = work(py, out.len().max(stream.len()), || {
        let decoder = encoder.encoder((0, 0), 0, encode::DEFAULT_RUNS);
        let decoded = decode_into(&*decoder, stream, out, wide);
        if decoded.is_err() {
            out.fill(POISON);
        }
        decoded
    });
    decoded.map_err(of_codec)
}

fn decode_into(
    decoder: &dyn ValueEncoder,
    stream: &[u8],
    out: &mut [u8],
    wide: bool,
) -> huffwire::Result<()> {
    if !wide && let Ok(values) = <[i8]>::mut_from_bytes(out) {
        return decoder.decode(stream, values.into());
    }
    if cfg!(target_endian = "little")
        && let Ok(values) = <[i32]>::mut_from_bytes(out)
    {
        return decoder.decode(stream, values.into());
    }
    let mut values = vec![0; out.len() / 4];
    decoder.decode(stream, ValuesMut::I32(&mut values))?;
    fill(out, &values, i32::to_le_bytes);
    Ok(())
}

/// The names of all encoders that need no books.
#[pyfunction]
pub(crate) fn all_encoders() -> Vec<&'static str> {
    EncoderKind::all().map(EncoderKind::name).collect()
}

/// The name of the encoder that made a stream of `auto`.
#[pyfunction]
pub(crate) fn chosen_encoder(stream: Input) -> PyResult<&'static str> {
    Auto::chosen(stream.bytes()).map_err(of_codec)
}

/// The estimated bytes of the streams of the encoders that `auto` may choose.
#[pyfunction]
pub(crate) fn estimates(py: Python<'_>, values: ValueInput) -> PyResult<Vec<(&'static str, f64)>> {
    let (memory, wide) = values;
    let values = ValueMemory::of(memory.bytes(), wide)?;
    let estimates = work(py, values.view().len(), || encode::estimates(values.view()));
    Ok(estimates.into_iter().map(|estimate| (estimate.name, estimate.bytes)).collect())
}

/// Shannon's bounds in bytes: for values, pairs, runs of zeros, masks.
#[pyfunction]
pub(crate) fn shannon(py: Python<'_>, values: ValueInput) -> PyResult<(f64, f64, f64, f64)> {
    let (memory, wide) = values;
    let values = ValueMemory::of(memory.bytes(), wide)?;
    let bounds = work(py, values.view().len(), || encode::shannon(values.view()));
    Ok((bounds.values, bounds.pairs, bounds.zero_runs, bounds.bitmap))
}
