//! The class `Codebooks`: a set of codebooks that sender and receiver hold.

use std::sync::Arc;

use huffwire::CodebookSet;
use pyo3::prelude::*;

use crate::error::of_codec;
use crate::memory::Input;

/// A set of codebooks. Sender and receiver must hold the same one; its id tells.
#[pyclass(frozen, module = "huffwire", skip_from_py_object)]
pub(crate) struct Codebooks {
    pub(crate) set: Arc<CodebookSet>,
}

#[pymethods]
impl Codebooks {
    /// The set that is built in. It needs no calibration.
    #[staticmethod]
    fn builtin() -> Self {
        Self { set: CodebookSet::builtin() }
    }

    /// The set in these bytes, as `to_bytes` or `huffwire calibrate` wrote them.
    #[staticmethod]
    #[pyo3(signature = (data, /))]
    fn from_bytes(data: Input) -> PyResult<Self> {
        Ok(Self { set: Arc::new(CodebookSet::from_bytes(data.bytes()).map_err(of_codec)?) })
    }

    /// The id of the set, 16 hexadecimal digits: a hash of its content.
    #[getter]
    fn id(&self) -> String {
        self.set.id().to_string()
    }
}
