//! The compiled part of the Python package `huffwire`: the module `huffwire._huffwire`.

mod codebooks;
mod codec;
mod coders;
mod error;
mod memory;
mod options;
mod pieces;
mod program;
mod threads;

use pyo3::prelude::*;

/// The compiled part of `huffwire`.
#[pymodule]
mod _huffwire {
    use super::*;

    #[pymodule_export]
    use super::codebooks::Codebooks;
    #[pymodule_export]
    use super::codec::{
        _check, _decode, _decode_into, _dtype_name, _encode, _encode_into, _inspect,
        _max_encoded_size, _measure, MessageHeader, platform,
    };
    #[pymodule_export]
    use super::pieces::_copy_checked;
    #[pymodule_export]
    use super::program::_program;
    #[pymodule_export]
    use super::threads::default_threads;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
