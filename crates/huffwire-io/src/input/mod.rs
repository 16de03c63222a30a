//! Files that are to be compressed, and which of their bytes are which tensor.

mod file;

use std::ops::Range;
use std::path::Path;

use huffwire::Dtype;
use huffwire::file::TensorInfo;

pub(crate) use file::Identity;
pub use file::{InputFile, Origin};

use crate::error::{Error, Result};
use crate::formats::{self, RawOptions};

/// A file that is to be compressed, cut into pieces.
#[derive(Debug)]
pub struct Input {
    /// The name under which the file is restored: a plain file name, never a path.
    pub name: String,
    /// Where its bytes come from.
    pub file: InputFile,
    /// All its bytes, in order and without gaps.
    pub pieces: Vec<Piece>,
}

/// Consecutive bytes of an [`Input`]: a tensor, or what stands around tensors, such as a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Name, type and shape of the tensor; `None` for bytes that are no tensor.
    pub tensor: Option<TensorInfo>,
    /// The type that the bytes are coded as.
    pub dtype: Dtype,
    /// Where the bytes lie in the file.
    pub range: Range<u64>,
}

impl Piece {
    /// Bytes that are no tensor.
    #[must_use]
    pub const fn verbatim(range: Range<u64>) -> Self {
        Self { tensor: None, dtype: Dtype::U8, range }
    }

    /// A tensor. It is coded as bytes if its size is no whole number of elements of the type.
    #[must_use]
    pub fn tensor(tensor: TensorInfo, dtype: Dtype, range: Range<u64>) -> Self {
        let whole = dtype.values_in(range.end - range.start).is_some();
        let dtype = if whole { dtype } else { Dtype::U8 };
        Self { tensor: Some(tensor), dtype, range }
    }

    /// The tensor's name; empty for bytes that are no tensor.
    #[must_use]
    pub fn name(&self) -> &str {
        self.tensor.as_ref().map_or("", |tensor| &tensor.name)
    }

    /// Size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Input {
    /// Opens a file and finds the tensors in it. The ending of its name says which kind of file it is:
    /// `.safetensors`, `.npy`, or `.safetensors.index.json` for a model in several files. Such a model
    /// gives several inputs: the index first, then the files that it names, which lie in the same folder.
    ///
    /// With `raw` the file is taken as elements of one type instead, whatever its name.
    ///
    /// ```
    /// use huffwire_io::Input;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("ones.npy");
    /// let mut npy = b"\x93NUMPY\x01\x00\x3a\x00".to_vec();
    /// npy.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n");
    /// npy.extend([1f32; 6].into_iter().flat_map(f32::to_le_bytes));
    /// std::fs::write(&path, npy)?;
    ///
    /// let inputs = Input::open(&path, None)?;
    /// let [header, array] = &inputs[0].pieces[..] else { panic!("a header and an array") };
    /// assert_eq!(header.tensor, None);
    /// assert_eq!(array.tensor.as_ref().unwrap().shape, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownFormat`], [`Error::InvalidFormat`], [`Error::FileSize`], [`Error::RawSize`],
    /// [`Error::FileName`], and those of [`InputFile::open`].
    pub fn open(path: &Path, raw: Option<&RawOptions>) -> Result<Vec<Self>> {
        let file = InputFile::open(path)?;
        let name = match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if huffwire::file::is_plain_name(name) => name.to_owned(),
            _ => return Err(Error::FileName { path: path.display().to_string() }),
        };
        if let Some(options) = raw {
            return Ok(vec![formats::raw::cut(file, name, options)?]);
        }
        formats::by_name(&name).map_or_else(
            || Err(Error::UnknownFormat { path: path.display().to_string() }),
            |format| format.cut(file, name, path.parent()),
        )
    }

    /// Finds the tensors in input that has no name, such as standard input, by its first bytes. `stem` is
    /// the name under which it is restored, to which an ending such as `.safetensors` is added. With
    /// `raw` the input is taken as elements of one type instead.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn unnamed(file: InputFile, stem: &str, raw: Option<&RawOptions>) -> Result<Vec<Self>> {
        if let Some(options) = raw {
            return Ok(vec![formats::raw::cut(file, format!("{stem}.bin"), options)?]);
        }
        let start = file.start(formats::START_BYTES)?;
        match formats::by_start(&start) {
            Some(format) => format.cut(file, format!("{stem}{}", format.ending()), None),
            None => Err(Error::UnknownFormat { path: file.label().to_owned() }),
        }
    }
}
