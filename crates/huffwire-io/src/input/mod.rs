//! Files that are to be compressed, and which of their bytes are which tensor.

mod file;
mod handle;
mod identity;
mod stream;

use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;

use huffwire::Dtype;
use huffwire::file::TensorInfo;

pub use file::InputFile;
pub(crate) use identity::Identity;
pub use identity::{Origin, is_same_entry};

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

    /// Its tensors, in the order of the file, each with its place.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorInfo, &Piece)> {
        self.pieces.iter().filter_map(|piece| Some((piece.tensor.as_ref()?, piece)))
    }

    /// Opens any file as one input: the tensors of a `.safetensors` or `.npy` file, and the bytes of everything else, an
    /// index of a model among it. A file whose name promises tensors that it does not have is taken as bytes, too; the
    /// error then says why. A name that cannot be stored is stored with `_` in place of what cannot.
    ///
    /// # Errors
    /// Those of [`InputFile::open`] and of reading.
    pub fn open_any(path: &Path) -> Result<(Self, Option<Error>)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = formats::plain_name(&name);
        let file = InputFile::open(path)?;
        let (file, why) = match formats::by_name(&name).filter(|format| format.is_one_file()) {
            None => (file, None),
            Some(format) => match format.cut(file, name.clone(), None) {
                Ok(mut inputs) if inputs.len() == 1 => return Ok((inputs.remove(0), None)),
                Ok(_) => (InputFile::open(path)?, None),
                Err(why @ (Error::InvalidFormat { .. } | Error::FileSize { .. })) => {
                    (InputFile::open(path)?, Some(why))
                }
                Err(error) => return Err(error),
            },
        };
        let pieces = vec![Piece::verbatim(0..file.bytes())];
        Ok((Self { name, file, pieces }, why))
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

    /// Finds the tensors in a stream, such as a pipe, by its first bytes. No copy of it is made where these bytes tell
    /// how many follow: the input can then be read only once and in order, as [`Writer`](crate::Writer) does. Anything
    /// else is copied to a temporary file first. `origin` is where the stream comes from, `stem` and `raw` are as for
    /// [`Input::unnamed`].
    ///
    /// ```
    /// use std::io::Cursor;
    /// use huffwire_io::formats::safetensors::Header;
    /// use huffwire_io::{Input, Origin};
    ///
    /// let file = Header::new("x", None, Vec::new())?.to_bytes();
    /// let inputs = Input::stream(Cursor::new(file), Origin::stdin(), "stdin", None)?;
    /// assert_eq!(inputs[0].name, "stdin.safetensors");
    /// # Ok::<(), huffwire_io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Input::open`]. That the stream is shorter or longer than its header says, shows when it is read.
    pub fn stream(
        from: impl Read + Send + 'static,
        origin: Origin,
        stem: &str,
        raw: Option<&RawOptions>,
    ) -> Result<Vec<Self>> {
        let label = origin.label().to_owned();
        let failed = || Error::io(&label, "cannot be read");
        if raw.is_some() {
            return Self::unnamed(InputFile::spool(from, origin)?, stem, raw);
        }
        let mut rest = stream::Stream::new(from).map_err(failed())?;
        let mut head = Vec::new();
        take(&mut rest, &mut head, formats::START_BYTES).map_err(failed())?;
        let format = formats::by_start(&head);
        if let Some((format, count)) =
            format.and_then(|format| Some((format, format.head_bytes(&head)?)))
        {
            take(&mut rest, &mut head, count).map_err(failed())?;
            // What was cut within its header is told as it is of a file.
            if head.len() as u64 >= count
                && let Some(bytes) = format.file_bytes(origin.label(), &head[..count as usize])?
            {
                let name = format!("{stem}{}", format.ending());
                return format.cut(InputFile::of_stream(head, rest, bytes, origin), name, None);
            }
        }
        Self::unnamed(InputFile::spool(Cursor::new(head).chain(rest), origin)?, stem, None)
    }
}

/// Takes bytes from a stream until there are so many, or no more. Memory is taken as they arrive.
fn take(from: &mut stream::Stream, bytes: &mut Vec<u8>, count: u64) -> std::io::Result<()> {
    let missing = count.saturating_sub(bytes.len() as u64);
    Read::take(from, missing).read_to_end(bytes).map(drop)
}
