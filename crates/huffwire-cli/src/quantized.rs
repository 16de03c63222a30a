//! A .hwq file that was opened: its directory, and its tensors.

use std::path::Path;

use anyhow::{Context, Result, bail};
use huffwire::Decoder;
use huffwire::gradient::file::{self, Coding, Directory, Entry, HEADER_BYTES, TRAILER_BYTES};
use huffwire::gradient::message::{self, Values};
use huffwire_io::{InputFile, is_hw_file};

use crate::files;

/// A million tensors have a directory of this size.
const MAX_DIRECTORY_BYTES: u64 = 1 << 28;

/// A .hwq file.
#[derive(Debug)]
pub(crate) struct QuantizedFile {
    /// Where the messages are.
    pub(crate) file: InputFile,
    /// What they are.
    pub(crate) directory: Directory,
}

/// A part of a tensor of a .hwq file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    /// The bytes that it had, all of them.
    Kept(&'a [u8]),
    /// What the next of its states stand for.
    Values(&'a [f32]),
}

impl QuantizedFile {
    /// Opens a .hwq file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = files::open(path)?;
        let start = file.start(8)?;
        if is_hw_file(&start) {
            bail!(
                "{}: this file holds no quantized tensors: it was compressed without loss; \
                 huffwire decompress restores them",
                file.label()
            );
        }
        Self::read(file)
    }

    /// Reads header, trailer and directory of a file.
    pub(crate) fn read(file: InputFile) -> Result<Self> {
        let context = || file.label().to_owned();
        let bytes = file.bytes();
        let header = file.start(HEADER_BYTES as u64)?;
        file::read_header(&header).with_context(context)?;
        let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else {
            bail!("{}: the file was cut after {bytes} bytes", file.label());
        };
        let trailer = file.read(trailer_at..bytes)?;
        let (range, check) = file::read_trailer(&trailer, bytes).with_context(context)?;
        let size = range.end - range.start;
        if size > MAX_DIRECTORY_BYTES {
            bail!(
                "{}: a directory of {size} bytes is larger than a valid one can be: the file is damaged",
                file.label()
            );
        }
        let offset = range.start;
        let directory = Directory::read(&file.read(range)?, offset, check);
        Ok(Self { directory: directory.with_context(context)?, file })
    }

    /// What messages call a tensor.
    pub(crate) fn describe(&self, entry: &Entry) -> String {
        format!("{}: tensor {:?}", self.file.label(), entry.name)
    }

    /// The message of a quantized tensor, found to agree with the directory, and its header.
    pub(crate) fn message(&self, entry: &Entry) -> Result<(message::Header, Vec<u8>)> {
        let bytes = self.file.read(entry.range.clone())?;
        let context = || self.describe(entry);
        let header = message::Header::read(&bytes).with_context(context)?;
        let dtype = header.dtype.name();
        if header.shape != entry.shape || !entry.dtype.eq_ignore_ascii_case(dtype) {
            bail!(
                "{}: type or shape differ from those in the directory of the file: the file is damaged",
                context()
            );
        }
        Ok((header, bytes))
    }

    /// Decodes a tensor, part by part: a quantized one may be of any size, whatever its message has. Not all parts
    /// are good when the last one is not.
    pub(crate) fn decode(
        &self,
        entry: &Entry,
        mut each: impl FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let context = || self.describe(entry);
        match entry.coding {
            Coding::Kept => {
                let bytes = self.file.read(entry.range.clone())?;
                let decoded = Decoder::builtin().decode_to_vec(&bytes);
                each(Part::Kept(&decoded.with_context(context)?.1))
            }
            Coding::Quantized => {
                let (_, bytes) = self.message(entry)?;
                let mut values = Values::open(&bytes).with_context(context)?;
                while let Some(part) = values.next_part().with_context(context)? {
                    each(Part::Values(part))?;
                }
                Ok(())
            }
        }
    }

    /// Bytes of elements of a tensor that was kept, as its message says.
    pub(crate) fn kept_bytes(&self, entry: &Entry) -> Result<u64> {
        let end = entry.range.end.min(entry.range.start + huffwire::message::HEADER_BYTES as u64);
        let start = self.file.read(entry.range.start..end)?;
        let header = huffwire::message::Header::read(&start);
        let bytes = header.and_then(|header| header.raw_bytes());
        Ok(bytes.with_context(|| self.describe(entry))? as u64)
    }
}
