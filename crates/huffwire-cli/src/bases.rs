//! Opening the bases of deltas.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use huffwire_io::{Base, Error, RawOptions, ReadOptions, Reader, TensorFile};

use crate::args::{BaseArgs, RawArgs};
use crate::files::{is_dash, is_hw};

/// Opens a base, or a chain of them; `None` if there is none. `raw` tells what is in a raw file.
pub(crate) fn open(
    paths: &[PathBuf],
    raw: Option<&RawOptions>,
    codebooks: Option<&Path>,
) -> Result<Option<Arc<Base>>> {
    let mut files = Vec::new();
    for path in paths {
        if is_dash(path) {
            bail!("-: a base and its deltas are read in any order, so they must be files");
        }
        let raw = raw.filter(|_| !is_hw(path));
        files.push(match (TensorFile::open(path, raw, ReadOptions::default())?, codebooks) {
            (TensorFile::Hw(reader), Some(books)) => reader.with_codebooks_file(books)?.into(),
            (file, _) => file,
        });
    }
    Ok(Base::chain(files)?.map(Arc::new))
}

/// Gives a reader the codebooks that it and the bases need, and the bases of its deltas. A raw file is taken as what the
/// only tensor of the reader is.
pub(crate) fn give(
    mut reader: Reader,
    paths: &[PathBuf],
    codebooks: Option<&Path>,
) -> Result<Reader> {
    if let Some(books) = codebooks {
        reader = reader.with_codebooks_file(books)?;
    }
    let raw = raw_options(&reader);
    let base = match open(paths, None, codebooks) {
        Err(error)
            if raw.is_some()
                && matches!(error.downcast_ref(), Some(Error::UnknownFormat { .. })) =>
        {
            open(paths, raw.as_ref(), codebooks)?
        }
        opened => opened?,
    };
    Ok(match base {
        Some(base) => reader.with_base(base)?,
        None => reader,
    })
}

/// Opens a file of tensors. A .hw file has the codebooks that it needs and, where it has deltas, their bases.
pub(crate) fn open_tensors(
    path: &Path,
    raw: &RawArgs,
    codebooks: Option<&Path>,
    bases: &BaseArgs,
    options: ReadOptions,
) -> Result<TensorFile> {
    match TensorFile::open(path, raw.options().as_ref(), options)? {
        TensorFile::Hw(reader) => {
            // A base that is given with two files may be that of one of them.
            let paths = if reader.has_deltas() { &bases.bases[..] } else { &[] };
            let reader = give(*reader, paths, codebooks)?;
            reader.check_base()?;
            Ok(reader.into())
        }
        file @ TensorFile::Files(_) => Ok(file),
    }
}

/// What the only tensor of a file is, if it has no other.
fn raw_options(reader: &Reader) -> Option<RawOptions> {
    let mut tensors = reader.tensors();
    let (info, item) = tensors.next().filter(|_| tensors.next().is_none())?;
    Some(RawOptions { dtype: item.dtype, spelling: info.dtype.clone(), shape: None })
}
