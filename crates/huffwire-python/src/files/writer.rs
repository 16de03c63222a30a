//! Writing `.hw` files.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use huffwire::file::TensorInfo;
use huffwire_io::{Output, WriteOptions, Writer};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::base::FileBase;
use super::progress::{Progress, Steps};
use super::shared_workers;
use crate::codebooks::Codebooks;
use crate::error::{Class, of_codec, of_io};
use crate::memory::Input;
use crate::options::{Encoding, dtype_of, whole_number};

/// A `.hw` file that is being written. It gets its name when `finish` is called; else it leaves no trace.
#[pyclass(frozen, module = "huffwire._huffwire", skip_from_py_object)]
pub(crate) struct FileWriter {
    /// Locked without the interpreter lock only: who holds this lock may wait for that one.
    writer: Mutex<Option<Writer>>,
    /// What was written, where no file was named.
    memory: Option<Memory>,
}

/// A tensor: its name, huffwire's name of its element type, its shape, and its memory.
type Tensor = (String, String, Vec<u64>, Input);

#[pymethods]
impl FileWriter {
    /// Begins the file `path`, or one in memory. Tensors that `base` has, too, become deltas; small ones only where that
    /// is smaller.
    #[new]
    #[pyo3(signature = (
        path,
        *,
        level="fast",
        symbols="auto",
        codebooks=None,
        checksums=true,
        threads=None,
        base=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are named")]
    fn create(
        py: Python<'_>,
        path: Option<PathBuf>,
        level: &str,
        symbols: &str,
        codebooks: Option<&Codebooks>,
        checksums: bool,
        #[pyo3(from_py_with = whole_number)] threads: Option<usize>,
        base: Option<&FileBase>,
    ) -> PyResult<Self> {
        let Encoding { set, options: encode } =
            Encoding::new(level, symbols, codebooks, checksums)?;
        let workers = shared_workers(py, threads)?;
        let base = base.map(|base| Arc::clone(&base.base));
        let options =
            WriteOptions { encode, workers, base: base.clone(), ..WriteOptions::default() };
        let options = options.with_codebooks(set);
        let memory = path.is_none().then(Memory::default);
        let output = match (path, &memory) {
            (Some(path), _) => {
                let inputs = base.as_ref().map_or_else(Vec::new, |base| base.origins());
                Output::create(&path, true, &inputs)
            }
            (None, memory) => {
                let stream = memory.clone().unwrap_or_default();
                Ok(Output::to_stream("memory", stream))
            }
        };
        let writer = output.and_then(|output| Writer::new(output, options)).map_err(of_io)?;
        Ok(Self { writer: Mutex::new(Some(writer)), memory })
    }

    /// Begins an original file of this name.
    fn begin_original(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        py.detach(|| open(&mut self.lock())?.begin_original(name).map_err(of_io))
    }

    /// Adds bytes that are no tensor.
    fn add_bytes(&self, py: Python<'_>, data: Input) -> PyResult<()> {
        let bytes = data.bytes();
        py.detach(|| open(&mut self.lock())?.add_bytes(bytes).map_err(of_io))
    }

    /// Adds tensors: tuples of name, element type, shape, and memory (a buffer, or an address and a length).
    /// `progress` is called with the bytes done, counted from `done`, and with `total`.
    #[pyo3(signature = (tensors, *, progress=None, done=0, total=0))]
    fn add(
        &self,
        py: Python<'_>,
        tensors: Vec<Tensor>,
        progress: Option<Py<PyAny>>,
        done: u64,
        total: u64,
    ) -> PyResult<()> {
        let mut described = Vec::with_capacity(tensors.len());
        for (name, dtype, shape, memory) in &tensors {
            let (dtype, bytes) = (dtype_of(dtype)?, memory.bytes());
            let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
            let expected = elements.and_then(|elements| dtype.bytes_of(elements));
            if expected != Some(bytes.len() as u64) {
                return Err(Class::Mismatch.error(format!(
                    "tensor {name:?}: {} bytes are not what elements of type {dtype} and shape {shape:?} take",
                    bytes.len()
                )));
            }
            let spelled = dtype.safetensors_name().unwrap_or(dtype.name()).to_owned();
            let info = TensorInfo { name: name.clone(), dtype: spelled, shape: shape.clone() };
            described.push((info, dtype, bytes));
        }
        py.detach(|| {
            let mut writer = self.lock();
            let mut steps = Steps::new(Progress::new(progress, done, total));
            open(&mut writer)?.add_tensors(described, |bytes| steps.add(bytes))?;
            Ok(steps.finish()?)
        })
    }

    /// Adds a delta: its tensor's name and shape, and the message, which was encoded with the codebooks of the file.
    #[pyo3(signature = (name, shape, message, /))]
    fn add_delta(
        &self,
        py: Python<'_>,
        name: &str,
        shape: Vec<u64>,
        message: Input,
    ) -> PyResult<()> {
        let message = message.bytes();
        let header = huffwire::message::Header::read(message, None).map_err(of_codec)?;
        let dtype = header.dtype;
        let size = header.raw_bytes().map_err(of_codec)? as u64;
        let elements = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
        if elements.and_then(|elements| dtype.bytes_of(elements)) != Some(size) {
            return Err(Class::Mismatch.error(format!(
                "tensor {name:?}: a delta of {size} bytes is not what elements of type {dtype} and shape {shape:?} take"
            )));
        }
        let spelled = dtype.safetensors_name().unwrap_or(dtype.name()).to_owned();
        let info = TensorInfo { name: name.to_owned(), dtype: spelled, shape };
        py.detach(|| open(&mut self.lock())?.add_delta(info, message).map_err(of_io))
    }

    /// Completes the file and gives it its name; returns its size in bytes, or what was written if no file was named.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let written = py.detach(|| {
            let writer = self.lock().take().ok_or_else(closed)?;
            writer.finish().map_err(of_io)
        })?;
        match &self.memory {
            None => Ok(written.bytes.into_pyobject(py)?.into_any()),
            Some(memory) => Ok(PyBytes::new(py, &memory.take()).into_any()),
        }
    }

    /// Removes what was written. Nothing happens after `finish`.
    fn abort(&self, py: Python<'_>) {
        py.detach(|| drop(self.lock().take()));
    }
}

impl FileWriter {
    fn lock(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open<'w>(writer: &'w mut MutexGuard<'_, Option<Writer>>) -> PyResult<&'w mut Writer> {
    writer.as_mut().ok_or_else(closed)
}

fn closed() -> PyErr {
    Class::Option.error("the file is finished: begin another")
}

/// What a file in memory consists of so far.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.try_reserve(bytes.len())?;
        memory.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
