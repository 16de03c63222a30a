//! A .hw file that was opened: its directory, and the codebooks to decode it with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use huffwire::CodebookSet;
use huffwire::file::{self, Directory, HEADER_BYTES, Item, TRAILER_BYTES};

use crate::books::{self, Books};
use crate::input_file::{InputFile, Origin};

/// 100 TB of tensors have a directory of this size.
const MAX_DIRECTORY_BYTES: u64 = 1 << 32;

/// A .hw file.
#[derive(Debug)]
pub(crate) struct Container {
    /// Where the blocks are.
    pub(crate) file: InputFile,
    /// What they are.
    pub(crate) directory: Directory,
}

impl Container {
    /// Whether these bytes begin a .hw file.
    pub(crate) fn is_one(start: &[u8]) -> bool {
        start.starts_with(b"HUFFWIRE")
    }

    /// Opens a .hw file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::read(InputFile::open(path)?)
    }

    /// Reads header, trailer and directory of a file.
    pub(crate) fn read(file: InputFile) -> Result<Self> {
        let context = || file.label().to_owned();
        let bytes = file.bytes();
        let header = file.read(0..bytes.min(HEADER_BYTES as u64))?;
        if huffwire::gradient::file::is_one(&header) {
            bail!(
                "{}: this file holds quantized tensors; huffwire dequantize restores them",
                file.label()
            );
        }
        file::read_header(&header).with_context(context)?;
        let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else {
            bail!("{}: the file was cut after {bytes} bytes", file.label());
        };
        let trailer = file.read(trailer_at..bytes)?;
        let (range, check) = file::read_trailer(&trailer, bytes).with_context(context)?;
        let size = range.end - range.start;
        if size > MAX_DIRECTORY_BYTES {
            bail!("{}: a directory of {size} bytes is larger than any can be", file.label());
        }
        let offset = range.start;
        let bytes = file.read_unproven(range).context("the directory cannot be read")?;
        let directory = Directory::read(&header, &bytes, offset, check);
        Ok(Self { directory: directory.with_context(context)?, file })
    }

    /// The codebooks to decode with: embedded ones, else the built-in ones or those in the file
    /// `given`, whichever the data name. Only in the last case that file is read.
    pub(crate) fn books(&self, given: Option<&Path>) -> Result<Books> {
        let wanted = self.directory.set;
        let builtin = CodebookSet::builtin();
        let at_hand = self.directory.embedded.clone();
        let at_hand = at_hand.or_else(|| (builtin.id() == wanted).then(|| builtin.clone()));
        if let Some(set) = at_hand {
            return Ok(Books { set, origin: given.map(Origin::of) });
        }
        let label = self.file.label();
        let Some(path) = given else {
            bail!(
                "{label}: the data were coded with codebook set {wanted}, which is neither \
                 embedded nor built in ({}); pass the file it was compressed with as \
                 --codebooks FILE",
                builtin.id()
            );
        };
        let books = books::load(path)?;
        let found = books.set.id();
        if found != wanted {
            bail!(
                "{label}: the data were coded with codebook set {wanted}, but {} holds {found}; \
                 pass the file it was compressed with as --codebooks FILE",
                path.display()
            );
        }
        Ok(books)
    }

    /// What messages call an item.
    pub(crate) fn describe(item: &Item) -> String {
        match &item.tensor {
            Some(tensor) => format!("tensor {:?}", tensor.name),
            None => "a header".to_owned(),
        }
    }
}
