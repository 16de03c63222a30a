//! Options as Python callers write them: `level="max"`, `symbols="bytes"`, `codebooks=...`, dtypes by their names.

use std::sync::Arc;

use huffwire::{CodebookSet, Dtype, EncodeOptions, Expected, Level, SymbolRule};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::codebooks::Codebooks;
use crate::error::Class;

/// How to encode: what an encoder is made of.
#[derive(Debug, Clone)]
pub(crate) struct Encoding {
    pub(crate) set: Arc<CodebookSet>,
    pub(crate) options: EncodeOptions,
}

impl Encoding {
    /// # Errors
    /// `OptionError` for an unknown level or unknown symbols.
    pub(crate) fn new(
        level: &str,
        symbols: &str,
        codebooks: Option<&Codebooks>,
        checksums: bool,
    ) -> PyResult<Self> {
        let options = EncodeOptions::default().checksums(checksums);
        let options = options.level(level_of(level)?).rule(symbols_of(symbols)?);
        Ok(Self { set: set(codebooks), options })
    }

    /// The same with blocks of another size in bytes, if one is given.
    ///
    /// # Errors
    /// `OptionError` for a size that no block can have.
    pub(crate) fn block_size(mut self, size: Option<u64>) -> PyResult<Self> {
        self.options.block_log2 = block_log2_of(size)?;
        Ok(self)
    }
}

/// The power of two that is the size of blocks in bytes; that of the default if there is none.
///
/// # Errors
/// `OptionError`.
pub(crate) fn block_log2_of(size: Option<u64>) -> PyResult<u8> {
    let Some(size) = size else { return Ok(EncodeOptions::default().block_log2) };
    if size.is_power_of_two() && (1 << 10..=1 << 20).contains(&size) {
        return Ok(size.ilog2() as u8);
    }
    let limits = "give a power of two from 1024 to 1048576";
    Err(Class::Option.error(format!("block_size={size}: {limits}")))
}

/// The set that a caller names; the built-in one if there is none.
pub(crate) fn set(codebooks: Option<&Codebooks>) -> Arc<CodebookSet> {
    codebooks.map_or_else(CodebookSet::builtin, |codebooks| Arc::clone(&codebooks.set))
}

/// The level of this name.
///
/// # Errors
/// `OptionError`.
pub(crate) fn level_of(name: &str) -> PyResult<Level> {
    match name {
        "fast" => Ok(Level::Fast),
        "max" => Ok(Level::Max),
        _ => Err(Class::Option.error(format!("level={name:?}: give \"fast\" or \"max\""))),
    }
}

/// The rule for symbols of this name.
///
/// # Errors
/// `OptionError`.
pub(crate) fn symbols_of(name: &str) -> PyResult<SymbolRule> {
    match name {
        "auto" => Ok(SymbolRule::Auto),
        "bytes" => Ok(SymbolRule::Bytes),
        "byte-planes" => Ok(SymbolRule::BytePlanes),
        _ => Err(Class::Option
            .error(format!("symbols={name:?}: give \"auto\", \"bytes\" or \"byte-planes\""))),
    }
}

/// The element type of this name.
///
/// # Errors
/// `OptionError`, which lists the names.
pub(crate) fn dtype_of(name: &str) -> PyResult<Dtype> {
    name.parse().map_err(|error: huffwire::UnknownDtype| Class::Option.error(error.to_string()))
}

/// A number of 0 or more, or `None`, as `threads=`, `context=` and `max_size=` take it.
///
/// # Errors
/// `OptionError` for a number outside the range, `TypeError` for what is no whole number.
pub(crate) fn whole_number<'py, T>(object: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    for<'a> T: FromPyObject<'a, 'py, Error = PyErr>,
{
    object.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(object.py()) {
            Class::Option.error(format!("{object}: give a number from 0 to {}, or None", u64::MAX))
        } else {
            error
        }
    })
}

/// The sets that a decoder gets besides the built-in one: `None`, a `Codebooks`, or a list or tuple of them.
pub(crate) struct DecoderSets(pub(crate) Vec<Arc<CodebookSet>>);

impl<'py> FromPyObject<'_, 'py> for DecoderSets {
    type Error = PyErr;

    fn extract(object: pyo3::Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let one = |object: &Bound<'py, PyAny>| {
            let codebooks = object.cast::<Codebooks>();
            codebooks.map(|codebooks| Arc::clone(&codebooks.get().set)).map_err(|_| {
                Class::Option.error("codebooks=: give a Codebooks, a list of them, or None")
            })
        };
        if object.is_none() {
            Ok(Self(Vec::new()))
        } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            let all = object.try_iter()?.map(|item| one(&item?));
            all.collect::<PyResult<_>>().map(Self)
        } else {
            one(&object).map(|set| Self(vec![set]))
        }
    }
}

/// What a message must be, of what the caller tells.
pub(crate) fn expected(
    dtype: Option<Dtype>,
    context: Option<u64>,
    max_size: Option<usize>,
) -> Expected {
    let mut expected = Expected::anything();
    (expected.dtype, expected.context, expected.max_bytes) = (dtype, context, max_size);
    expected
}

/// The name of the element type that PyTorch calls so (without `torch.`), if there is one. NumPy and ml_dtypes have the
/// same names for those of the types that they know.
#[pyfunction]
pub(crate) fn dtype_named(name: &str) -> Option<&'static str> {
    Dtype::from_torch_name(name).map(Dtype::name)
}

/// The bytes of one unit of an element type.
#[pyfunction]
pub(crate) fn dtype_bytes(dtype: &str) -> PyResult<usize> {
    Ok(dtype_of(dtype)?.unit_bytes())
}
