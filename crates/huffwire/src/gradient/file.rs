//! Files of quantized tensors. See `docs/format.md`, "Files of quantized tensors".
//!
//! A file is a header, messages one after the other, a directory, and a trailer that points to the directory. This
//! module makes and reads the bytes around the messages, and does no I/O: the caller reads and writes.

use std::collections::HashSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::file::frame::{self, Frame};
use crate::wire::crc32c;
use crate::wire::{Reader, put_string, put_varint};

const DIRECTORY: &str = "the directory of a file of quantized tensors";

static FRAME: Frame = Frame {
    magic: b"HUFFQUAN",
    end_magic: b"HWQE",
    version: 1,
    flags: 0,
    file: "a file of quantized tensors",
    header: "the header of a file of quantized tensors",
    trailer: "the trailer of a file of quantized tensors",
    other: "is no file of quantized tensors",
};

/// Bytes of the file header.
pub const HEADER_BYTES: usize = frame::HEADER_BYTES;
/// Bytes of the trailer, the last of the file.
pub const TRAILER_BYTES: usize = frame::TRAILER_BYTES;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name; no two tensors of a file have the same.
    pub name: String,
    /// Element type as safetensors spells it: `F32`, `BF16`, `I64`.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// How the tensor is coded.
    pub coding: Coding,
    /// Where the tensor's message lies in the file.
    pub range: Range<u64>,
}

/// How a tensor is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Without loss: a [`message`](crate::message), with the built-in books.
    Kept,
    /// Quantized: a message of [`gradient::message`](super::message).
    Quantized,
}

/// The directory of a file: all but the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Keys and values of `__metadata__` in the safetensors file that the tensors come from. No key occurs twice.
    pub metadata: Vec<(String, String)>,
    /// The tensors, in the order of their messages.
    pub entries: Vec<Entry>,
}

/// Whether these bytes begin a file of quantized tensors.
#[must_use]
pub fn is_one(start: &[u8]) -> bool {
    start.starts_with(FRAME.magic)
}

/// Reads the header of a file.
///
/// # Errors
/// A typed error when the bytes are no header of a version this library reads.
pub fn read_header(bytes: &[u8]) -> Result<()> {
    FRAME.read_header(bytes).map(drop)
}

/// Reads the trailer (the last [`TRAILER_BYTES`] bytes) of a file of `file_bytes` bytes. Returns where the directory
/// lies, and the checksum to pass to [`Directory::read`].
///
/// # Errors
/// A typed error when the bytes are no trailer, or the trailer points outside the file.
pub fn read_trailer(trailer: &[u8], file_bytes: u64) -> Result<(Range<u64>, u32)> {
    FRAME.read_trailer(trailer, file_bytes)
}

impl Directory {
    /// Reads a directory. [`read_trailer`] returns where it lies, at `offset`, and its checksum `check`.
    ///
    /// # Errors
    /// A typed error for bytes that are no directory, and for one whose messages do not fill exactly the space
    /// between header and directory.
    pub fn read(bytes: &[u8], offset: u64, check: u32) -> Result<Self> {
        let computed = crc32c(bytes);
        if check != computed {
            return Err(Error::Checksum { what: DIRECTORY, stored: check, computed });
        }
        let mut reader = Reader::new(DIRECTORY, bytes);
        let (mut metadata, mut keys) = (Vec::new(), HashSet::new());
        for _ in 0..reader.varint()? {
            let (key, value) = (reader.string()?, reader.string()?);
            if !keys.insert(key) {
                return Err(reader.malformed(format!("two values of the key {key:?}")));
            }
            metadata.push((key.to_owned(), value.to_owned()));
        }
        let (mut entries, mut names) = (Vec::new(), HashSet::new());
        let mut at = HEADER_BYTES as u64;
        for _ in 0..reader.varint()? {
            let name = reader.string()?;
            if !names.insert(name) {
                return Err(reader.malformed(format!("two tensors named {name:?}")));
            }
            let coding = match reader.u8()? {
                0 => Coding::Kept,
                1 => Coding::Quantized,
                _ => return Err(reader.malformed("an unknown kind of tensor")),
            };
            let dtype = reader.string()?.to_owned();
            let mut shape = Vec::new();
            for _ in 0..reader.varint()? {
                shape.push(reader.varint()?);
            }
            let length = reader.varint()?;
            let end = at.checked_add(length).filter(|end| *end <= offset);
            let end =
                end.ok_or_else(|| reader.malformed("a tensor that reaches beyond its file"))?;
            entries.push(Entry { name: name.to_owned(), dtype, shape, coding, range: at..end });
            at = end;
        }
        reader.finish()?;
        if at != offset {
            return Err(reader.malformed("the tensors do not fill the space before the directory"));
        }
        Ok(Self { metadata, entries })
    }
}

/// Makes the bytes around the messages of a file that is being written.
///
/// The caller writes [`Writer::header`], then the messages in the order in which it announces them by
/// [`Writer::push`], then what [`Writer::finish`] returns.
#[derive(Debug, Default)]
pub struct Writer {
    directory: Directory,
    names: HashSet<String>,
}

impl Writer {
    /// A file without tensors so far.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a key that occurs twice.
    pub fn new(metadata: Vec<(String, String)>) -> Result<Self> {
        let mut keys = HashSet::new();
        if let Some((key, _)) = metadata.iter().find(|(key, _)| !keys.insert(key)) {
            return Err(Error::option(format!("two values of the key {key:?}")));
        }
        let directory = Directory { metadata, entries: Vec::new() };
        Ok(Self { directory, names: HashSet::new() })
    }

    /// The first bytes of the file.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        FRAME.write_header(0)
    }

    /// Announces the next tensor, whose message has so many bytes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a name that another tensor has.
    pub fn push(
        &mut self,
        name: &str,
        dtype: &str,
        shape: &[u64],
        coding: Coding,
        message_bytes: usize,
    ) -> Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Err(Error::option(format!("two tensors named {name:?}")));
        }
        let start = self.end();
        let range = start..start + message_bytes as u64;
        let (name, dtype, shape) = (name.to_owned(), dtype.to_owned(), shape.to_vec());
        self.directory.entries.push(Entry { name, dtype, shape, coding, range });
        Ok(())
    }

    fn end(&self) -> u64 {
        self.directory.entries.last().map_or(HEADER_BYTES as u64, |entry| entry.range.end)
    }

    /// The directory of the tensors announced so far.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The last bytes of the file: directory and trailer.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.directory.metadata.len() as u64);
        for (key, value) in &self.directory.metadata {
            put_string(&mut out, key);
            put_string(&mut out, value);
        }
        put_varint(&mut out, self.directory.entries.len() as u64);
        for Entry { name, dtype, shape, coding, range } in &self.directory.entries {
            put_string(&mut out, name);
            out.push(match coding {
                Coding::Kept => 0,
                Coding::Quantized => 1,
            });
            put_string(&mut out, dtype);
            put_varint(&mut out, shape.len() as u64);
            for &dimension in shape {
                put_varint(&mut out, dimension);
            }
            put_varint(&mut out, range.end - range.start);
        }
        FRAME.write_trailer(&mut out, self.end());
        out
    }
}
