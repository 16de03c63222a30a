//! The compiled part of the Python package `huffwire`: the module `huffwire._huffwire`.

mod analyze;
mod calibrate;
mod codebooks;
mod codec;
mod coders;
mod deltas;
mod error;
mod files;
mod gradient;
mod memory;
mod net;
mod options;
mod patches;
mod pieces;
mod plan;
mod program;
mod refresh;
mod stats;
mod threads;

use pyo3::prelude::*;

/// The compiled part of `huffwire`.
#[pymodule]
mod _huffwire {
    use super::*;

    #[pymodule_export]
    use super::analyze::{_analyze, PyAnalysis};
    #[pymodule_export]
    use super::calibrate::{Collector, kind_of, profile_file};
    #[pymodule_export]
    use super::codebooks::{Binding, Codebook, Codebooks};
    #[pymodule_export]
    use super::codec::{
        _check, _decode, _decode_into, _dtype_name, _encode, _encode_into, _inspect,
        _max_encoded_size, _measure, MessageHeader, platform,
    };
    #[pymodule_export]
    use super::deltas::{
        _apply_delta, _content_hash, _decode_delta, _decode_delta_into, _delta_changes,
        _encode_delta, _hash_file, _inspect_delta, DeltaBlock, DeltaInfo, PreparedDelta,
    };
    #[pymodule_export]
    use super::files::{
        _parse_safetensors_header, FileBase, FileReader, FileWriter, safetensors_header,
    };
    #[pymodule_export]
    use super::gradient::{
        BitmapBooks, Drift, ErrorFeedback, ExchangeCodec, FixedBook, Quantized, RefreshPolicy,
        ValueHeader, all_encoders, chosen_encoder, count_values, decode_message,
        decode_message_into, decode_values, encode_values, estimates, quantizer_text,
        read_message_header, shannon,
    };
    #[pymodule_export]
    use super::net::{Listener, Mesh, Ticket};
    #[pymodule_export]
    use super::options::{dtype_bytes, dtype_named};
    #[pymodule_export]
    use super::patches::{_apply_patch, _changes_of_patch, _check_patch, _patch};
    #[pymodule_export]
    use super::pieces::{_checksum, _copy_checked};
    #[pymodule_export]
    use super::plan::LinkModel;
    #[pymodule_export]
    use super::program::_program;
    #[pymodule_export]
    use super::refresh::Refresher;
    #[pymodule_export]
    use super::stats::{Pmf, Profile, encoded_bytes};
    #[pymodule_export]
    use super::threads::default_threads;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("MAX_CHAIN", huffwire_io::MAX_CHAIN)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
