//! Errors: which exception of `huffwire._errors` each error of the libraries becomes. The texts stay theirs.

use std::io;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Exception of the package, by its name in `huffwire._errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Chain,
    Codebook,
    Context,
    Damaged,
    Exists,
    File,
    Limit,
    Mismatch,
    MissingBase,
    MissingFile,
    NoSuchTensor,
    Option,
    OutOfMemory,
    Output,
    Other,
    Quantize,
    Unsupported,
    Version,
    WrongBase,
    WrongContext,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Chain => "ChainError",
            Self::Codebook => "CodebookError",
            Self::Context => "ContextError",
            Self::Damaged => "DamagedError",
            Self::Exists => "ExistsError",
            Self::File => "FileError",
            Self::Limit => "LimitError",
            Self::Mismatch => "MismatchError",
            Self::MissingBase => "MissingBaseError",
            Self::MissingFile => "MissingFileError",
            Self::NoSuchTensor => "NoSuchTensorError",
            Self::Option => "OptionError",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::Output => "OutputError",
            Self::Other => "Error",
            Self::Quantize => "QuantizeError",
            Self::Unsupported => "UnsupportedError",
            Self::Version => "VersionError",
            Self::WrongBase => "WrongBaseError",
            Self::WrongContext => "WrongContextError",
        }
    }

    /// An exception of this class with this text.
    pub(crate) fn error(self, text: impl Into<String>) -> PyErr {
        let text = text.into();
        Python::attach(|py| match self.class(py) {
            Ok(class) => PyErr::from_type(class, (text,)),
            // Only where the package is not whole.
            Err(error) => {
                let broken = PyImportError::new_err(text);
                broken.set_cause(py, Some(error));
                broken
            }
        })
    }

    fn class(self, py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
        let found = py.import("huffwire._errors")?.getattr(self.name())?;
        Ok(found.cast_into::<PyType>()?)
    }
}

/// The exception for an error of the library `huffwire`.
pub(crate) fn of_codec(error: huffwire::Error) -> PyErr {
    codec_class(&error).error(error.to_string())
}

/// The exception for an error of the library `huffwire-io`.
pub(crate) fn of_io(error: huffwire_io::Error) -> PyErr {
    let exception = io_class(&error).error(error.to_string());
    if let Some(code) = system_code(&error) {
        Python::attach(|py| {
            // The text tells the same; who compares numbers finds it where Python's own errors have it.
            let _ = exception.value(py).setattr("errno", code);
        });
    }
    exception
}

fn codec_class(error: &huffwire::Error) -> Class {
    use huffwire::Error as E;
    match error {
        E::Checksum { what, .. } if what.contains("another context") => Class::WrongContext,
        E::Truncated { .. } | E::Malformed { .. } | E::Checksum { .. } => Class::Damaged,
        E::UnknownCodebook { .. } | E::WrongResult { .. } => Class::Damaged,
        E::WrongBase { .. } | E::BaseLength { .. } => Class::WrongBase,
        E::UnknownVersion { .. } => Class::Version,
        E::UnknownKind { .. } | E::Unexpected { .. } | E::PartialElement { .. } => Class::Mismatch,
        E::SetMismatch { .. } | E::AmbiguousSet { .. } | E::InvalidCodebook(_) => Class::Codebook,
        E::MissingContext | E::UnexpectedContext => Class::Context,
        E::OutputTooSmall { .. } | E::OutputLength { .. } => Class::Output,
        E::TooLarge { .. } => Class::Limit,
        E::OutOfMemory { .. } => Class::OutOfMemory,
        E::InvalidOption(_) => Class::Option,
        E::Unquantizable { .. } => Class::Quantize,
        E::InBlock { source, .. } => codec_class(source),
        _ => Class::Other,
    }
}

fn io_class(error: &huffwire_io::Error) -> Class {
    use huffwire_io::Error as E;
    match error {
        E::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Class::MissingFile,
        E::Io { .. } | E::IsFolder { .. } | E::FileName { .. } | E::Changed { .. } => Class::File,
        E::SameFile { .. } | E::Terminal => Class::File,
        E::Exists { .. } => Class::Exists,
        E::Codec { source, .. } => codec_class(source),
        E::Shard { source, .. } | E::BaseUnreadable { source, .. } => io_class(source),
        E::InvalidFormat { .. } | E::FileSize { .. } => Class::Damaged,
        E::UnknownFormat { .. } | E::NotAnArray { .. } => Class::Unsupported,
        E::RawSize { .. } | E::Range { .. } | E::Unwritable { .. } => Class::Mismatch,
        E::BaseMissing { .. } => Class::MissingBase,
        E::NotInBase { .. } | E::NotADelta { .. } => Class::Mismatch,
        E::WrongBase { .. } => Class::WrongBase,
        E::BrokenChain { .. } => Class::Chain,
        E::OutOfMemory { .. } => Class::OutOfMemory,
        E::TooLarge { .. } => Class::Limit,
        E::NoCodebooks { .. } | E::CodebooksMissing { .. } | E::OtherCodebooks { .. } => {
            Class::Codebook
        }
        E::LongChain { .. } => Class::Limit,
        E::NoSuchTensor { .. } => Class::NoSuchTensor,
        E::Threads { .. } => Class::Option,
        _ => Class::Other,
    }
}

/// The system's number of an error.
fn system_code(error: &huffwire_io::Error) -> Option<i32> {
    match error {
        huffwire_io::Error::Io { source, .. } => source.raw_os_error(),
        huffwire_io::Error::Shard { source, .. } => system_code(source),
        _ => None,
    }
}
