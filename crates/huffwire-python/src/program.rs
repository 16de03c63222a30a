//! The program `huffwire`, which the Python package brings along.

use std::ffi::OsString;

use pyo3::prelude::*;

#[pyfunction]
#[pyo3(signature = (arguments, stdout_is_closed, /))]
pub(crate) fn _program(py: Python<'_>, arguments: Vec<OsString>, stdout_is_closed: bool) -> u8 {
    py.detach(|| huffwire_cli::run(arguments, stdout_is_closed))
}
