//! What a user wants compressed: which files, and which of their bytes are which tensor.
//!
//! Every kind of file is a module of its own that cuts a file into [`Piece`]s without gaps.

mod error;
mod npy;
mod raw;
mod safetensors;
mod sharded;

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use huffwire::Dtype;
use huffwire::file::TensorInfo;

pub(crate) use error::InputError;
pub(crate) use npy::header as npy_header;

use crate::args::RawArgs;
use crate::input_file::{InputFile, is_dash};

/// A file to be compressed, cut into pieces.
#[derive(Debug)]
pub(crate) struct Original {
    /// The name under which it is restored, without folders.
    pub(crate) name: String,
    /// Where its bytes come from.
    pub(crate) file: InputFile,
    /// All its bytes, in order.
    pub(crate) pieces: Vec<Piece>,
}

/// A run of bytes of an original: a tensor, or what stands around tensors.
#[derive(Debug)]
pub(crate) struct Piece {
    /// `None` for bytes that are no tensor.
    pub(crate) tensor: Option<TensorInfo>,
    /// The type that the bytes are coded as.
    pub(crate) element: Dtype,
    /// Where they lie in the original.
    pub(crate) range: Range<u64>,
}

impl Piece {
    /// Bytes to be kept as they are, such as a header.
    fn verbatim(range: Range<u64>) -> Self {
        Self { tensor: None, element: Dtype::U8, range }
    }

    /// A tensor; coded as bytes when its size is no multiple of the type's unit.
    fn tensor(tensor: TensorInfo, element: Dtype, range: Range<u64>) -> Self {
        let whole = (range.end - range.start).is_multiple_of(element.unit_bytes() as u64);
        let element = if whole { element } else { Dtype::U8 };
        Self { tensor: Some(tensor), element, range }
    }

    /// The tensor's name; empty for bytes that are none.
    pub(crate) fn name(&self) -> &str {
        self.tensor.as_ref().map_or("", |tensor| &tensor.name)
    }

    /// Size in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What kind of file it is.
enum Kind {
    Safetensors,
    Sharded,
    Npy,
}

impl Kind {
    fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        if lower.ends_with(".safetensors") {
            Some(Self::Safetensors)
        } else if lower.ends_with(".safetensors.index.json") {
            Some(Self::Sharded)
        } else if lower.ends_with(".npy") {
            Some(Self::Npy)
        } else {
            None
        }
    }

    /// By the first bytes, for input that has no name.
    fn of_content(file: &InputFile) -> Result<Option<Self>> {
        let start = file.read(0..file.bytes().min(9))?;
        Ok(if start.starts_with(npy::MAGIC) {
            Some(Self::Npy)
        } else if start.get(8) == Some(&b'{') {
            Some(Self::Safetensors)
        } else {
            None
        })
    }
}

/// Opens what `path` names (`-` is standard input) and finds the tensors in it. A sharded model
/// gives several originals, its index first.
pub(crate) fn open(path: &Path, raw: &RawArgs) -> Result<Vec<Original>> {
    if is_dash(path) {
        let file = InputFile::open(path)?;
        if raw.dtype.is_some() {
            return Ok(vec![raw::open(file, "stdin.bin".to_owned(), raw)?]);
        }
        return match Kind::of_content(&file)? {
            Some(Kind::Npy) => Ok(vec![npy::open(file, "stdin.npy".to_owned())?]),
            Some(_) => Ok(vec![safetensors::open(file, "stdin.safetensors".to_owned())?]),
            None => Err(InputError::UnknownKind { path: "standard input".to_owned() }.into()),
        };
    }
    if path.is_dir() {
        bail!(
            "{}: this is a folder; give a file in it, or for a sharded model its \
             model.safetensors.index.json",
            path.display()
        );
    }
    let file = InputFile::open(path)?;
    let name = file_name(path)?;
    if raw.dtype.is_some() {
        return Ok(vec![raw::open(file, name, raw)?]);
    }
    match Kind::of_name(&name) {
        Some(Kind::Safetensors) => Ok(vec![safetensors::open(file, name)?]),
        Some(Kind::Sharded) => sharded::open(file, name, path),
        Some(Kind::Npy) => Ok(vec![npy::open(file, name)?]),
        None => Err(InputError::UnknownKind { path: path.display().to_string() }.into()),
    }
}

fn file_name(path: &Path) -> Result<String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if huffwire::file::is_plain_name(name) => Ok(name.to_owned()),
        _ => bail!(
            "{}: the name of the file cannot be stored: it must be UTF-8 without control \
             characters, ':' or '\\'; rename the file",
            path.display()
        ),
    }
}
