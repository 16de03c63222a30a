//! Files that others are deltas of.

use std::path::PathBuf;
use std::sync::Arc;

use huffwire_io::{Base, ReadOptions, TensorFile};
use pyo3::prelude::*;

use super::reader::with_codebooks;
use crate::error::{Class, of_io};
use crate::options::DecoderSets;

/// What deltas are made of and restored with: a file of tensors, or a chain of one and deltas behind it. The files stay
/// open as long as this object lives.
#[pyclass(frozen, module = "huffwire._huffwire", skip_from_py_object)]
pub(crate) struct FileBase {
    pub(super) base: Arc<Base>,
}

#[pymethods]
impl FileBase {
    /// Opens files, each but the first one a delta of what is before it.
    #[new]
    #[pyo3(signature = (paths, *, codebooks=None))]
    fn open(py: Python<'_>, paths: Vec<PathBuf>, codebooks: Option<DecoderSets>) -> PyResult<Self> {
        let sets = codebooks.map_or_else(Vec::new, |codebooks| codebooks.0);
        let chain = py.detach(|| {
            let mut files = Vec::with_capacity(paths.len());
            for path in &paths {
                let file = TensorFile::open(path, None, ReadOptions::default())?;
                files.push(match file {
                    TensorFile::Hw(reader) => with_codebooks(*reader, &sets)?.into(),
                    file => file,
                });
            }
            Base::chain(files)
        });
        let base = chain.map_err(of_io)?;
        let base = base.ok_or_else(|| Class::Option.error("base=: name at least one file"))?;
        Ok(Self { base: Arc::new(base) })
    }
}
