//! How the command line names inputs and outputs: `-` is standard input or output, everything else is a
//! path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use huffwire_io::{Input, InputFile, Origin, Output, ReadOptions, Reader, Workers};

use crate::args::RawArgs;
use crate::standard::stdout_is_closed;

/// Whether an argument means standard input or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path that is made of the name of a file: there `-` is a name like any other.
pub(crate) fn as_file(path: PathBuf) -> PathBuf {
    if is_dash(&path) { Path::new(".").join(path) } else { path }
}

/// Opens an input.
pub(crate) fn open(path: &Path) -> Result<InputFile> {
    Ok(if is_dash(path) { InputFile::stdin()? } else { InputFile::open(path)? })
}

/// Opens a file that is to be compressed and finds the tensors in it.
pub(crate) fn open_tensors(path: &Path, raw: &RawArgs) -> Result<Vec<Input>> {
    let raw = raw.options();
    let raw = raw.as_ref();
    Ok(if is_dash(path) {
        Input::unnamed(InputFile::stdin()?, "stdin", raw)?
    } else {
        Input::open(path, raw)?
    })
}

/// Opens a .hw file.
pub(crate) fn open_hw(path: &Path, workers: &Arc<Workers>) -> Result<Reader> {
    read_hw(open(path)?, workers)
}

/// Reads a .hw file that is open.
pub(crate) fn read_hw(file: InputFile, workers: &Arc<Workers>) -> Result<Reader> {
    let options = ReadOptions { workers: Arc::clone(workers), ..ReadOptions::default() };
    Ok(Reader::new(file, options)?)
}

/// What an argument names as an input, without opening it.
pub(crate) fn origin(path: &Path) -> Origin {
    if is_dash(path) { Origin::stdin() } else { Origin::of(path) }
}

/// Prepares to write an output.
pub(crate) fn create(path: &Path, force: bool, inputs: &[&Origin]) -> Result<Output> {
    ensure!(
        !is_dash(path) || !stdout_is_closed(),
        "standard output is closed: it cannot be written to; pass -o FILE"
    );
    Ok(if is_dash(path) { Output::stdout(inputs)? } else { Output::create(path, force, inputs)? })
}

/// As many threads as the command line says, or one for each core.
pub(crate) fn workers(threads: Option<u16>) -> Result<Arc<Workers>> {
    Ok(Arc::new(Workers::new(threads.map_or(0, usize::from))?))
}
