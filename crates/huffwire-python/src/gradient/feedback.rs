//! Error feedback.
use std::sync::{Mutex, MutexGuard, PoisonError};

use huffwire::Dtype;
use pyo3::prelude::*;

use super::floats::{check_size, fill, floats};
use super::quantized::Quantized;
use super::quantizer::Spec;
use crate::error::{Class, of_codec};
use crate::memory::{Input, Output};
use crate::options::dtype_of;

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
