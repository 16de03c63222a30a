//! Quantized gradients: quantizers, encoders of quantized values, messages, and fixed books for them.
//!
//! Quantizers come from Python as tuples of their name and parameters, which `huffwire/gradient.py` makes of its
//! classes. Values are memory of one byte or, where `wide`, of four bytes each.
use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use half::{bf16, f16};
use huffwire::gradient::encode::{
    self, Auto, Bitmap, EncoderKind, Fixed, FixedBooks, RunAlphabet, Sh, Shs, ValueEncoder,
};
use huffwire::gradient::message::{self, FloatParts, Options, Origin};
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantizer, Sign, SignScale, Sparsify, TernGrad, WHOLE,
};
use huffwire::gradient::{ValueBuf, Values, ValuesMut};
use huffwire::{Decoder, Dtype, POISON};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use zerocopy::FromBytes;

use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output, work};
use crate::options::{DecoderSets, dtype_of, expected};

/// A number for people, and whole tensors as buckets: `None`.
fn whole_or(bucket: usize) -> Option<usize> {
    (bucket != WHOLE).then_some(bucket)
}

fn bucket(bucket: Option<usize>) -> usize {
    bucket.unwrap_or(WHOLE)
}

/// A quantizer as a tuple: its name, then its parameters.
pub(crate) struct Spec(Quantizer);

impl<'py> FromPyObject<'_, 'py> for Spec {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let tuple = object.cast::<PyTuple>()?;
        let name: String = tuple.get_item(0)?.extract()?;
        let rest = tuple.get_slice(1, tuple.len());
        let wrong = |what: &str| Class::Option.error(format!("{what} of the quantizer {name}"));
        // What is no number of that size at all is refused here, and what is out of range by the library.
        let number = |error: PyErr| wrong(&format!("a parameter is out of range ({error}),"));
        let quantizer = match name.as_str() {
            "qsgd" => {
                let (levels, size, norm): (u32, Option<usize>, String) =
                    rest.extract().map_err(number)?;
                let norm = match norm.as_str() {
                    "l2" => Norm::L2,
                    "max" => Norm::Max,
                    _ => return Err(wrong(&format!("norm={norm:?}: give \"l2\" or \"max\","))),
                };
                Quantizer::Qsgd(Qsgd { levels, bucket: bucket(size), norm })
            }
            "terngrad" => {
                let (clip, size): (Option<f32>, Option<usize>) = rest.extract().map_err(number)?;
                Quantizer::TernGrad(TernGrad { clip, bucket: bucket(size) })
            }
            "natural" => Quantizer::Natural(Natural),
            "sign" => {
                let (scale, size): (String, Option<usize>) = rest.extract().map_err(number)?;
                let scale = match scale.as_str() {
                    "one" => SignScale::One,
                    "mean" => SignScale::Mean,
                    "means" => SignScale::Means,
                    _ => {
                        let known = "give \"one\", \"mean\" or \"means\",";
                        return Err(wrong(&format!("scale={scale:?}: {known}")));
                    }
                };
                Quantizer::Sign(Sign { scale, bucket: bucket(size) })
            }
            "sparsify" => {
                let (keep, share): (String, f64) = rest.extract().map_err(number)?;
                let keep = match keep.as_str() {
                    "top" => Keep::Top,
                    "random" => Keep::Random,
                    _ => return Err(wrong(&format!("keep={keep:?}: give \"top\" or \"random\","))),
                };
                Quantizer::Sparsify(Sparsify { keep, share })
            }
            "linear" => {
                let (size,): (Option<usize>,) = rest.extract().map_err(number)?;
                Quantizer::Linear(Linear { bucket: bucket(size) })
            }
            _ => return Err(wrong("there is no such name")),
        };
        quantizer.check().map_err(of_codec)?;
        Ok(Self(quantizer))
    }
}

fn spec<'py>(py: Python<'py>, quantizer: &Quantizer) -> PyResult<Bound<'py, PyTuple>> {
    match quantizer {
        Quantizer::Qsgd(Qsgd { levels, bucket, norm }) => {
            let norm = match norm {
                Norm::L2 => "l2",
                Norm::Max => "max",
            };
            ("qsgd", *levels, whole_or(*bucket), norm).into_pyobject(py)
        }
        Quantizer::TernGrad(TernGrad { clip, bucket }) => {
            ("terngrad", *clip, whole_or(*bucket)).into_pyobject(py)
        }
        Quantizer::Natural(_) => ("natural",).into_pyobject(py),
        Quantizer::Sign(Sign { scale, bucket }) => {
            let scale = match scale {
                SignScale::One => "one",
                SignScale::Mean => "mean",
                SignScale::Means => "means",
            };
            ("sign", scale, whole_or(*bucket)).into_pyobject(py)
        }
        Quantizer::Sparsify(Sparsify { keep, share }) => {
            let keep = match keep {
                Keep::Top => "top",
                Keep::Random => "random",
            };
            ("sparsify", keep, *share).into_pyobject(py)
        }
        Quantizer::Linear(Linear { bucket }) => ("linear", whole_or(*bucket)).into_pyobject(py),
        other => Err(Class::Version
            .error(format!("the quantizer {other}, which this Python package does not know"))),
    }
}

/// Checks a quantizer, and returns its text: `qsgd levels=4 norm=l2 bucket=512`.
#[pyfunction]
pub(crate) fn quantizer_text(quantizer: Spec) -> String {
    quantizer.0.to_string()
}

/// Elements of a type as f32: the same memory where it is of f32 already, and begins at a multiple of 4.
fn floats(dtype: Dtype, bytes: &[u8]) -> PyResult<Cow<'_, [f32]>> {
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
fn write_floats(floats: &[f32], dtype: Dtype, out: &mut [u8]) {
    match dtype {
        Dtype::Bf16 => fill(out, floats, |float| bf16::from_f32(float).to_le_bytes()),
        Dtype::F16 => fill(out, floats, |float| f16::from_f32(float).to_le_bytes()),
        _ => fill(out, floats, f32::to_le_bytes),
    }
}

fn fill<T: Copy, const N: usize>(out: &mut [u8], items: &[T], bytes: impl Fn(T) -> [u8; N]) {
    out.as_chunks_mut().0.iter_mut().zip(items).for_each(|(out, &item)| *out = bytes(item));
}

/// Checks that an output has so many bytes.
fn check_size(out: &[u8], due: usize) -> PyResult<()> {
    if out.len() == due {
        return Ok(());
    }
    let available = out.len();
    Err(of_codec(huffwire::Error::OutputLength { needed: due, available }))
}

/// Memory as values; copied only where it does not begin at a multiple of 4.
enum ValueMemory<'a> {
    Here(Values<'a>),
    Copied(Vec<i32>),
}

impl<'a> ValueMemory<'a> {
    fn of(bytes: &'a [u8], wide: bool) -> PyResult<Self> {
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

    fn view(&self) -> Values<'_> {
        match self {
            Self::Here(values) => *values,
            Self::Copied(values) => values[..].into(),
        }
    }
}

/// Memory of values, and whether each has four bytes.
type ValueInput = (Input, bool);

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

fn stream<'py>(
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

/// A quantized gradient: values and scales.
#[pyclass(name = "Quantized", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct Quantized(huffwire::gradient::quantize::Quantized);

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
        context: Option<u64>,
    ) -> PyResult<(Bound<'py, PyBytes>, [usize; 3])> {
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
        let sizes = [sizes.scales, sizes.values.total, sizes.values.codebook];
        Ok((PyBytes::new(py, &bytes), sizes))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// The type of floats that were quantized.
fn float_type(name: &str) -> PyResult<Dtype> {
    let dtype = dtype_of(name)?;
    match dtype {
        Dtype::F32 | Dtype::Bf16 | Dtype::F16 => Ok(dtype),
        _ => Err(Class::Unsupported
            .error(format!("floats of {dtype}: quantized gradients are f32, bf16 or f16"))),
    }
}

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
pub(crate) fn read_message_header(message: Input, context: Option<u64>) -> PyResult<ValueHeader> {
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
    context: Option<u64>,
    max_size: Option<usize>,
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
    context: Option<u64>,
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

/// The memory of error feedback.
#[pyclass(name = "ErrorFeedback", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct ErrorFeedback(Mutex<huffwire::gradient::ErrorFeedback>);

impl ErrorFeedback {
    fn get(&self) -> MutexGuard<'_, huffwire::gradient::ErrorFeedback> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ErrorFeedback {
    #[new]
    fn new(residual: Input, decay: f32) -> PyResult<Self> {
        let residual = floats(Dtype::F32, residual.bytes())?.into_owned();
        let memory = huffwire::gradient::ErrorFeedback::from_residual(residual);
        Ok(Self(Mutex::new(memory.with_decay(decay))))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.get().residual().len())
    }

    fn quantize(
        &self,
        py: Python<'_>,
        quantizer: Spec,
        dtype: &str,
        memory: Input,
        seed: u64,
    ) -> PyResult<Quantized> {
        let (dtype, bytes) = (dtype_of(dtype)?, memory.bytes());
        py.detach(|| {
            let floats = floats(dtype, bytes)?;
            let mut memory = self.get();
            let (found, due) = (floats.len(), memory.residual().len());
            if found != due {
                return Err(Class::Mismatch
                    .error(format!("a gradient of {found} elements for a memory of {due}")));
            }
            memory.quantize(&quantizer.0, &floats, seed).map(Quantized).map_err(of_codec)
        })
    }

    fn residual_into(&self, py: Python<'_>, mut output: Output) -> PyResult<()> {
        let out = output.apart_from(&[])?;
        py.detach(|| {
            let memory = self.get();
            check_size(out, memory.residual().len() * 4)?;
            fill(out, memory.residual(), f32::to_le_bytes);
            Ok(())
        })
    }

    fn clear(&self, py: Python<'_>) {
        py.detach(|| self.get().clear());
    }
}

/// What fixed codebooks cost for some values, beside codebooks that are made for them. The bits of the codebooks
/// themselves are not counted.
///
/// >>> from huffwire import gradient
/// >>> values = ("i8", bytes([0, 0, 0, 1] * 1000))
/// >>> gradient.FixedBook.train([values]).drift(values).regret < 0.01
/// True
#[pyclass(name = "Drift", module = "huffwire.gradient", frozen, skip_from_py_object)]
pub(crate) struct Drift(encode::Drift);

#[pymethods]
impl Drift {
    /// Bits that the fixed codebooks take.
    #[getter]
    const fn spent_bits(&self) -> u64 {
        self.0.spent_bits
    }

    /// Bits that codebooks made for these very values would take.
    #[getter]
    const fn fresh_bits(&self) -> u64 {
        self.0.fresh_bits
    }

    /// What is lost, relative to codebooks made for these values: 0.01 for one percent.
    #[getter]
    fn regret(&self) -> f64 {
        self.0.regret()
    }

    fn __repr__(&self) -> String {
        let encode::Drift { spent_bits, fresh_bits } = self.0;
        format!("<Drift: {spent_bits} bits where {fresh_bits} would do, {:.4}>", self.0.regret())
    }
}

/// Some tensors of values, as Python passes them.
fn views<'a>(memory: &'a [ValueInput]) -> PyResult<Vec<ValueMemory<'a>>> {
    memory.iter().map(|(memory, wide)| ValueMemory::of(memory.bytes(), *wide)).collect()
}

/// A codebook over values, pairs or runs that both ends hold.
#[pyclass(name = "FixedBook", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct FixedBook(Arc<Fixed>);

#[pymethods]
impl FixedBook {
    #[staticmethod]
    fn train(
        py: Python<'_>,
        tensors: Vec<ValueInput>,
        alphabet: &str,
        runs: u32,
    ) -> PyResult<Self> {
        let alphabet = match alphabet {
            "values" => RunAlphabet::Values,
            "pairs" => RunAlphabet::Pairs,
            "zero-runs" => RunAlphabet::ZeroRuns(runs),
            _ => {
                let known = "give \"values\", \"pairs\" or \"zero-runs\"";
                return Err(Class::Option.error(format!("alphabet={alphabet:?}: {known}")));
            }
        };
        let tensors = views(&tensors)?;
        let book = py.detach(|| Fixed::train(alphabet, tensors.iter().map(ValueMemory::view)));
        book.map(|book| Self(Arc::new(book))).map_err(of_codec)
    }

    #[staticmethod]
    fn from_bytes(data: Input) -> PyResult<Self> {
        Fixed::from_bytes(data.bytes()).map(|book| Self(Arc::new(book))).map_err(of_codec)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    #[getter]
    fn alphabet(&self) -> &'static str {
        match self.0.alphabet() {
            RunAlphabet::Values => "values",
            RunAlphabet::Pairs => "pairs",
            RunAlphabet::ZeroRuns(_) => "zero-runs",
        }
    }

    fn drift(&self, py: Python<'_>, values: ValueInput) -> PyResult<Drift> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        Ok(Drift(work(py, values.view().len(), || self.0.drift(values.view()))))
    }

    fn refit(&self, py: Python<'_>, values: ValueInput) -> PyResult<Self> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        Ok(Self(Arc::new(work(py, values.view().len(), || self.0.refit(values.view())))))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0.to_bytes() == other.0.to_bytes()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.id().hash(&mut hasher);
        hasher.finish()
    }
}

/// Codebooks for the layers of bitmaps that both ends hold.
#[pyclass(name = "BitmapBooks", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct BitmapBooks(Arc<encode::BitmapBooks>);

#[pymethods]
impl BitmapBooks {
    #[staticmethod]
    fn train(py: Python<'_>, tensors: Vec<ValueInput>) -> PyResult<Self> {
        let tensors = views(&tensors)?;
        let books = py.detach(|| encode::BitmapBooks::train(tensors.iter().map(ValueMemory::view)));
        books.map(|books| Self(Arc::new(books))).map_err(of_codec)
    }

    #[staticmethod]
    fn from_codebooks(codebooks: &Bound<'_, Codebooks>) -> PyResult<Self> {
        let books = encode::BitmapBooks::from_set(Arc::clone(&codebooks.get().set));
        books.map(|books| Self(Arc::new(books))).map_err(of_codec)
    }

    #[getter]
    fn codebooks(&self) -> Codebooks {
        Codebooks { set: Arc::clone(self.0.set()) }
    }

    #[getter]
    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn drift(&self, py: Python<'_>, values: ValueInput) -> PyResult<Drift> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        Ok(Drift(work(py, values.view().len(), || self.0.drift(values.view()))))
    }

    fn refit(&self, py: Python<'_>, values: ValueInput) -> PyResult<Self> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        Ok(Self(Arc::new(work(py, values.view().len(), || self.0.refit(values.view())))))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.set().id().hash(&mut hasher);
        hasher.finish()
    }
}

/// When fixed books are replaced.
#[pyclass(name = "RefreshPolicy", module = "huffwire._huffwire", frozen, skip_from_py_object)]
pub(crate) struct RefreshPolicy(Mutex<Policy>);

/// A policy for either kind of books.
enum Policy {
    Fixed(Box<encode::RefreshPolicy<Fixed>>),
    Bitmap(encode::RefreshPolicy<encode::BitmapBooks>),
}

impl RefreshPolicy {
    fn get(&self) -> MutexGuard<'_, Policy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Books of either kind, for Python.
#[derive(IntoPyObject)]
pub(crate) enum Books {
    Fixed(FixedBook),
    Bitmap(BitmapBooks),
}

impl Books {
    fn fixed(book: &Fixed) -> Self {
        Self::Fixed(FixedBook(Arc::new(book.clone())))
    }

    fn bitmap(books: &encode::BitmapBooks) -> Self {
        Self::Bitmap(BitmapBooks(Arc::new(books.clone())))
    }
}

fn no_books() -> PyErr {
    Class::Option.error("books=: give a FixedBook or BitmapBooks, and of one kind to one policy")
}

#[pymethods]
impl RefreshPolicy {
    #[new]
    fn new(books: EncoderChoice, tolerance: f64, every: u64) -> PyResult<Self> {
        if tolerance.is_nan() || tolerance < 0.0 || every == 0 {
            let detail = "tolerance= must not be below 0, and every= not below 1";
            return Err(Class::Option.error(detail));
        }
        let policy = match books {
            EncoderChoice::Fixed(book) => {
                let policy = encode::RefreshPolicy::new(Fixed::clone(&book), tolerance, every);
                Policy::Fixed(Box::new(policy))
            }
            EncoderChoice::Bitmap(books) => {
                let books = encode::BitmapBooks::clone(&books);
                Policy::Bitmap(encode::RefreshPolicy::new(books, tolerance, every))
            }
            EncoderChoice::Kind(_) => return Err(no_books()),
        };
        Ok(Self(Mutex::new(policy)))
    }

    #[getter]
    fn books(&self, py: Python<'_>) -> Books {
        py.detach(|| match &*self.get() {
            Policy::Fixed(policy) => Books::fixed(policy.books()),
            Policy::Bitmap(policy) => Books::bitmap(policy.books()),
        })
    }

    #[getter]
    fn fresh(&self, py: Python<'_>) -> Option<Books> {
        py.detach(|| match &*self.get() {
            Policy::Fixed(policy) => policy.fresh().map(Books::fixed),
            Policy::Bitmap(policy) => policy.fresh().map(Books::bitmap),
        })
    }

    fn observe(&self, py: Python<'_>, values: ValueInput) -> PyResult<Option<Drift>> {
        let (memory, wide) = values;
        let values = ValueMemory::of(memory.bytes(), wide)?;
        let drift = py.detach(|| match &mut *self.get() {
            Policy::Fixed(policy) => policy.observe(values.view()),
            Policy::Bitmap(policy) => policy.observe(values.view()),
        });
        Ok(drift.map(Drift))
    }

    fn switch(&self, py: Python<'_>, books: EncoderChoice) -> PyResult<()> {
        py.detach(|| match (&mut *self.get(), books) {
            (Policy::Fixed(policy), EncoderChoice::Fixed(book)) => {
                policy.switch(Fixed::clone(&book));
                Ok(())
            }
            (Policy::Bitmap(policy), EncoderChoice::Bitmap(books)) => {
                policy.switch(encode::BitmapBooks::clone(&books));
                Ok(())
            }
            _ => Err(no_books()),
        })
    }
}
