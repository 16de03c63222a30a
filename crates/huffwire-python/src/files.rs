//! Files: tensors from and to memory that Python names by its address.

mod base;
mod progress;
mod reader;
mod safetensors;
mod writer;

pub(crate) use base::FileBase;
pub(crate) use reader::FileReader;
pub(crate) use safetensors::{_parse_safetensors_header, safetensors_header};
pub(crate) use writer::FileWriter;

use std::sync::Arc;

use huffwire_io::Workers;
use pyo3::prelude::*;

use crate::error::of_io;
use crate::threads;

/// What ends work on a file.
enum Failure {
    File(huffwire_io::Error),
    /// Raised by a function that was told of the progress, or by a signal.
    Raised(PyErr),
}

impl From<huffwire_io::Error> for Failure {
    fn from(error: huffwire_io::Error) -> Self {
        Self::File(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::File(error) => of_io(error),
            Failure::Raised(error) => error,
        }
    }
}

/// The threads for work on a file.
fn workers(py: Python<'_>, wanted: Option<usize>) -> PyResult<Workers> {
    match threads::count(wanted)? {
        1 => Ok(Workers::caller()),
        count => Ok(Workers::on(threads::pool(py, count)?)),
    }
}

/// The same, shared.
fn shared_workers(py: Python<'_>, wanted: Option<usize>) -> PyResult<Arc<Workers>> {
    workers(py, wanted).map(Arc::new)
}
