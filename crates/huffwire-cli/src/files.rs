//! How the command line names inputs and outputs: `-` is standard input or output, everything else is a
//! path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Result, anyhow, bail, ensure};
use huffwire_io::{
    Error, Input, InputFile, Origin, Output, Published, ReadOptions, Reader, Workers,
};

use crate::args::RawArgs;
use crate::standard::{self, stdout_is_closed};

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
    if is_dash(path) {
        return Ok(Input::unnamed(InputFile::stdin()?, "stdin", raw)?);
    }
    Input::open(path, raw).map_err(|error| match error {
        Error::UnknownFormat { .. } if is_hw(path) => anyhow!(
            "{}: this is a .hw file already; `huffwire decompress` restores what is in it, and --dtype u8 \
             compresses it as mere bytes",
            path.display()
        ),
        error => error.into(),
    })
}

/// Opens a file that is to be read once and in order. Standard input needs no copy then.
pub(crate) fn open_tensors_once(path: &Path, raw: &RawArgs) -> Result<Vec<Input>> {
    if !is_dash(path) {
        return open_tensors(path, raw);
    }
    standard::widen_pipes();
    Ok(Input::stream(io::stdin(), Origin::stdin(), "stdin", raw.options().as_ref())?)
}

/// Whether a file begins as a .hw file does.
pub(crate) fn is_hw(path: &Path) -> bool {
    let start = InputFile::open(path).and_then(|file| file.start(8));
    start.is_ok_and(|start| huffwire_io::is_hw_file(&start))
}

/// Opens a .hw file.
pub(crate) fn open_hw(path: &Path, workers: &Arc<Workers>) -> Result<Reader> {
    read_hw(open(path)?, workers)
}

/// Reads a .hw file that is open.
pub(crate) fn read_hw(file: InputFile, workers: &Arc<Workers>) -> Result<Reader> {
    let start = file.start(START_BYTES)?;
    // That a file was cut within the first bytes, the reader tells.
    if !start.is_empty() && !huffwire_io::is_hw_file(&start) {
        bail!("{}: this is no .hw file, but {}", file.label(), described(&start));
    }
    let options = ReadOptions { workers: Arc::clone(workers), ..ReadOptions::default() };
    Ok(Reader::new(file, options)?)
}

/// Bytes at the start of a file by which it is told what it is.
const START_BYTES: u64 = 12;

/// What a file is that begins so, and what to do with it.
fn described(start: &[u8]) -> &'static str {
    if start.starts_with(b"\x93NUMPY") {
        "a .npy file; `huffwire compress` makes a .hw file of it"
    } else if start.get(8) == Some(&b'{') {
        "a safetensors file; `huffwire compress` makes a .hw file of it"
    } else if huffwire_io::is_codebook_file(start) {
        "codebooks or other JSON; `huffwire codebooks list` shows codebooks"
    } else {
        "of another kind, or its beginning is damaged"
    }
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

/// Whether what is written there goes where standard output goes: `-`, or a path such as `/dev/stdout`.
pub(crate) fn is_stdout(path: &Path) -> bool {
    is_dash(path) || is_device(path) && leads_to_stdout(path).unwrap_or(false)
}

#[cfg(unix)]
fn leads_to_stdout(path: &Path) -> io::Result<bool> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stdout = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata()?;
    let there = path.metadata()?;
    Ok((stdout.dev(), stdout.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn leads_to_stdout(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// How an output is prepared: [`create`] or [`create_one_of_many`].
pub(crate) type Create = fn(&Path, bool, &[&Origin]) -> Result<Output>;

/// Prepares to write an output that the user did not name: one of several files, or one whose name is told by another
/// file. A symbolic link there was not made for this: it is replaced and not followed. What this process made before is
/// not replaced.
pub(crate) fn create_one_of_many(path: &Path, force: bool, inputs: &[&Origin]) -> Result<Output> {
    Ok(Output::create_no_follow(path, force, inputs)?.one_of(&MADE))
}

/// Makes a symbolic link that the user did not name. What this process made before is not replaced.
pub(crate) fn create_link(path: &Path, target: &Path, force: bool) -> Result<()> {
    Ok(huffwire_io::create_link(path, target, force, &MADE)?)
}

/// What this process has made, of files that the user did not name.
static MADE: LazyLock<Arc<Published>> = LazyLock::new(Arc::default);

/// Whether what is written there cannot be read again.
pub(crate) fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Refuses `--rm` where the input, or one of the outputs, is standard input or output, a pipe or a device.
pub(crate) fn require_removable<'a>(
    input: &'a Path,
    outputs: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let mut all = outputs.into_iter().chain([input]);
    if all.any(|path| is_dash(path) || is_device(path)) {
        bail!("--rm: an input is only removed if it is a file, and its output, too");
    }
    Ok(())
}

/// As many threads as the command line says, or one for each core.
pub(crate) fn workers(threads: Option<u16>) -> Result<Arc<Workers>> {
    Ok(Arc::new(Workers::new(threads.map_or(0, usize::from))?))
}
