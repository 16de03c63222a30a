//! Messages of quantized gradients.
use huffwire::gradient::message::{self, FloatParts};
use huffwire::{Decoder, POISON};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::floats::float_type;
use super::quantized::Quantized;
use super::quantizer::spec;
use crate::error::of_codec;
use crate::memory::{Input, Output};
use crate::options::{DecoderSets, expected, whole_number};

/// What a message tells of a quantized gradient before its values.
#[pyclass(name = "ValueHeader", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct ValueHeader(message::Header);

#[pymethods]
impl ValueHeader {
    #[getter]
    fn quantizer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        spec(py, &self.0.quantizer)
    }

    #[getter]
    fn encoder(&self) -> &'static str {
        self.0.encoder.name()
    }

    #[getter]
    fn codebooks(&self) -> Option<String> {
        self.0.layers.map(|set| set.to_string())
    }

    #[getter]
    const fn dtype(&self) -> &'static str {
        self.0.dtype.name()
    }

    #[getter]
    fn shape(&self) -> Vec<u64> {
        self.0.shape.clone()
    }

    #[getter]
    const fn scales(&self) -> usize {
        self.0.scales
    }

    #[getter]
    const fn wide(&self) -> bool {
        self.0.wide
    }

    #[getter]
    const fn elements(&self) -> usize {
        self.0.elements()
    }
}

/// What a message tells before its values. No value is decoded.
#[pyfunction]
pub(crate) fn read_message_header(
    message: Input,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<ValueHeader> {
    message::read_header(message.bytes(), context).map(ValueHeader).map_err(of_codec)
}

fn decoder(sets: DecoderSets) -> PyResult<Decoder> {
    let all = sets.0.into_iter();
    all.into_iter().try_fold(Decoder::builtin(), Decoder::with_set).map_err(of_codec)
}

/// Header, values and scales of a message.
#[pyfunction]
pub(crate) fn decode_message(
    py: Python<'_>,
    message: Input,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    #[pyo3(from_py_with = whole_number)] max_size: Option<usize>,
) -> PyResult<(ValueHeader, Quantized)> {
    let mut decoder = decoder(codebooks)?;
    let bytes = message.bytes();
    let expected = expected(None, context, max_size);
    let decoded = py.detach(|| message::decode(bytes, &expected, &mut decoder));
    let (header, quantized) = decoded.map_err(of_codec)?;
    Ok((ValueHeader(header), Quantized(quantized)))
}

/// Decodes a message to floats in memory of exactly their size.
#[pyfunction]
pub(crate) fn decode_message_into(
    py: Python<'_>,
    message: Input,
    mut output: Output,
    dtype: &str,
    codebooks: DecoderSets,
    #[pyo3(from_py_with = whole_number)] context: Option<u64>,
) -> PyResult<()> {
    let mut decoder = decoder(codebooks)?;
    let dtype = float_type(dtype)?;
    let bytes = message.bytes();
    let out = output.apart_from(&[bytes])?;
    let expected = expected(Some(dtype), context, None);
    let decoded = py.detach(|| {
        let decoded = restore(bytes, &expected, &mut decoder, out);
        if decoded.is_err() {
            out.fill(POISON);
        }
        decoded
    });
    decoded.map_err(of_codec)
}

fn restore(
    message: &[u8],
    expected: &huffwire::Expected,
    decoder: &mut Decoder,
    out: &mut [u8],
) -> huffwire::Result<()> {
    let mut parts = FloatParts::open(message, expected, decoder)?;
    let header = parts.header();
    let needed = header.elements().saturating_mul(header.dtype.unit_bytes());
    if out.len() != needed {
        return Err(huffwire::Error::OutputLength { needed, available: out.len() });
    }
    let mut rest = out;
    while let Some(part) = parts.next_part()? {
        // The parts are as long in all as the header says.
        let (here, behind) = rest.split_at_mut(part.len().min(rest.len()));
        here.copy_from_slice(&part[..here.len()]);
        rest = behind;
    }
    Ok(())
}
