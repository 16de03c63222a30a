//! Quantized gradients: values and scales.
use huffwire::gradient::message::{self, Options, Origin};
use huffwire::gradient::{ValueBuf, Values};
use huffwire::{Dtype, POISON};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::floats::{check_size, fill, float_type, floats, write_floats};
use super::quantizer::{Spec, spec};
use super::values::{EncoderChoice, ValueInput, ValueMemory, stream};
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output, work};
use crate::options::{dtype_of, whole_number};

/// A quantized gradient: values and scales.
#[pyclass(name = "Quantized", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct Quantized(pub(super) huffwire::gradient::quantize::Quantized);

#[pymethods]
impl Quantized {
    /// Quantizes a gradient.
    #[staticmethod]
    fn of(
        py: Python<'_>,
        quantizer: Spec,
        dtype: &str,
        memory: Input,
        seed: u64,
    ) -> PyResult<Self> {
        let (dtype, bytes) = (dtype_of(dtype)?, memory.bytes());
        let quantized = work(py, bytes.len(), || {
            quantizer.0.quantize(&floats(dtype, bytes)?, seed).map_err(of_codec)
        });
        quantized.map(Self)
    }

    /// The quantized gradient of these parts, which are copied.
    #[staticmethod]
    fn of_parts(quantizer: Spec, values: ValueInput, scales: Input) -> PyResult<Self> {
        let (memory, wide) = values;
        let values = match ValueMemory::of(memory.bytes(), wide)? {
            ValueMemory::Here(Values::I8(values)) => ValueBuf::I8(values.to_vec()),
            ValueMemory::Here(Values::I32(values)) => ValueBuf::new(values.to_vec()),
            ValueMemory::Copied(values) => ValueBuf::new(values),
        };
        let scales = floats(Dtype::F32, scales.bytes())?.into_owned();
        let quantizer = quantizer.0;
        Ok(Self(huffwire::gradient::quantize::Quantized { quantizer, values, scales }))
    }

    #[getter]
    fn quantizer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        spec(py, &self.0.quantizer)
    }

    /// Whether values have four bytes each.
    #[getter]
    const fn wide(&self) -> bool {
        matches!(self.0.values, ValueBuf::I32(_))
    }

    #[getter]
    fn zeros(&self) -> usize {
        self.0.values.view().zeros()
    }

    #[getter]
    const fn scales(&self) -> usize {
        self.0.scales.len()
    }

    fn __len__(&self) -> usize {
        self.0.values.view().len()
    }

    fn values_into(&self, py: Python<'_>, mut output: Output) -> PyResult<()> {
        let out = output.apart_from(&[])?;
        let width = if self.wide() { 4 } else { 1 };
        check_size(out, self.0.values.view().len() * width)?;
        work(py, out.len(), || match &self.0.values {
            ValueBuf::I8(values) => fill(out, values, i8::to_le_bytes),
            ValueBuf::I32(values) => fill(out, values, i32::to_le_bytes),
        });
        Ok(())
    }

    fn scales_into(&self, mut output: Output) -> PyResult<()> {
        let out = output.apart_from(&[])?;
        check_size(out, self.0.scales.len() * 4)?;
        fill(out, &self.0.scales, f32::to_le_bytes);
        Ok(())
    }

    /// Writes the restored floats as elements of a type.
    fn restore_into(&self, py: Python<'_>, dtype: &str, mut output: Output) -> PyResult<()> {
        let dtype = float_type(dtype)?;
        let out = output.apart_from(&[])?;
        check_size(out, self.0.values.view().len() * dtype.unit_bytes())?;
        let restored = work(py, out.len(), || {
            let floats = self.0.dequantize();
            match floats {
                Ok(floats) => {
                    write_floats(&floats, dtype, out);
                    Ok(())
                }
                Err(error) => {
                    out.fill(POISON);
                    Err(error)
                }
            }
        });
        restored.map_err(of_codec)
    }

    /// The stream of the values, and the size of the codebooks in it.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        encoder: EncoderChoice,
        seed: u64,
        runs: u32,
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let alphabet = Some(self.0.quantizer.alphabet());
        stream(py, self.0.values.view(), alphabet, &encoder, seed, runs)
    }

    /// The message, and of its bytes those of scales, of values, and of codebooks.
    fn message<'py>(
        &self,
        py: Python<'py>,
        dtype: &str,
        shape: Vec<u64>,
        encoder: EncoderChoice,
        checksums: bool,
        #[pyo3(from_py_with = whole_number)] context: Option<u64>,
    ) -> PyResult<(Bound<'py, PyBytes>, (usize, usize, usize))> {
        let dtype = float_type(dtype)?;
        let mut options = Options::default().checksums(checksums);
        options.context = context;
        options = match encoder {
            EncoderChoice::Kind(kind) => options.encoder(kind),
            EncoderChoice::Bitmap(books) => options.books(books),
            EncoderChoice::Fixed(_) => {
                return Err(Class::Option.error(
                    "a message cannot use a FixedBook: give BitmapBooks, or use encode_values",
                ));
            }
        };
        let made = work(py, self.0.values.view().len(), || {
            let mut out = Vec::new();
            let origin = Origin { dtype, shape: &shape };
            let sizes = message::encode(&self.0, origin, &options, &mut out)?;
            Ok::<_, huffwire::Error>((out, sizes))
        });
        let (bytes, sizes) = made.map_err(of_codec)?;
        let sizes = (sizes.scales, sizes.values.total, sizes.values.codebook);
        Ok((PyBytes::new(py, &bytes), sizes))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
