//! Header and trailer of a file. The header has 16 bytes. The trailer has 24 bytes and points to the directory in front
//! of it, so a writer never has to go back.

use std::ops::Range;

use super::DIRECTORY;
use crate::error::{Error, Result};
use crate::wire::{Crc32c, Reader, crc32c};

const FILE: &str = "a huffwire file";
const HEADER: &str = "the header of a huffwire file";
const TRAILER: &str = "the trailer of a huffwire file";
const MAGIC: &[u8; 8] = b"HUFFWIRE";
const END_MAGIC: &[u8; 4] = b"HWDE";
const VERSION: u16 = 1;
/// The flag of files whose entries have checksums.
const CHECKSUMS: u16 = 1;

/// Bytes of the file header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the trailer, the last of the file.
pub const TRAILER_BYTES: usize = 24;

/// Reads the header of a file; returns whether its entries have checksums.
///
/// # Errors
/// A typed error when the bytes are no header of a version this library reads.
pub fn read_header(bytes: &[u8]) -> Result<bool> {
    let mut reader = Reader::new(HEADER, bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Error::malformed(HEADER, 0, "this is no huffwire file"));
    }
    let version = reader.u16()?;
    if version != VERSION {
        let (found, supported) = (version.into(), VERSION.into());
        return Err(Error::UnknownVersion { what: FILE, found, supported });
    }
    let flags = reader.u16()?;
    let (stored, computed) = (reader.u32()?, crc32c(&bytes[..HEADER_BYTES - 4]));
    if stored != computed {
        return Err(Error::Checksum { what: HEADER, stored, computed });
    }
    if flags & !CHECKSUMS != 0 {
        return Err(Error::malformed(HEADER, 10, "flags that this version does not know"));
    }
    Ok(flags & CHECKSUMS != 0)
}

/// The header of a file whose entries have checksums or not.
pub(super) fn write_header(checksums: bool) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let flags = if checksums { CHECKSUMS } else { 0 };
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&flags.to_le_bytes());
    let check = crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// Reads the trailer (the last [`TRAILER_BYTES`] bytes) of a file of `file_bytes` bytes; returns
/// where the directory lies, and the checksum to pass to [`Directory::read`](super::Directory::read).
///
/// # Errors
/// A typed error when it is no trailer, or points outside the file.
pub fn read_trailer(trailer: &[u8], file_bytes: u64) -> Result<(Range<u64>, u32)> {
    let mut reader = Reader::new(TRAILER, trailer);
    let (offset, length, check) = (reader.u64()?, reader.u64()?, reader.u32()?);
    if &reader.array()? != END_MAGIC {
        return Err(reader.malformed("the file was cut, or is no huffwire file"));
    }
    reader.finish()?;
    let end = offset.checked_add(length);
    let expected = file_bytes.checked_sub(TRAILER_BYTES as u64);
    if end.is_none() || end != expected || offset < HEADER_BYTES as u64 {
        return Err(Error::malformed(TRAILER, 0, "it points to a directory that cannot be there"));
    }
    Ok((offset..offset + length, check))
}

/// Check of a directory that is read in parts: so no memory is taken for a large one that is damaged or a lie.
/// [`Directory::read`](super::Directory::read) makes the same check of a whole one.
///
/// ```
/// let mut check = huffwire::file::DirectoryCheck::new(0xe306_9283);
/// check.add(b"12345");
/// check.add(b"6789");
/// assert!(check.finish().is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryCheck {
    stored: u32,
    computed: Crc32c,
}

impl DirectoryCheck {
    /// The check of a directory with the checksum that [`read_trailer`] told.
    #[must_use]
    pub fn new(check: u32) -> Self {
        Self { stored: check, computed: Crc32c::new() }
    }

    /// Takes the next bytes of the directory.
    pub fn add(&mut self, bytes: &[u8]) {
        self.computed.add(bytes);
    }

    /// Tells whether these bytes are the directory.
    ///
    /// # Errors
    /// [`Error::Checksum`].
    pub fn finish(&self) -> Result<()> {
        let (stored, computed) = (self.stored, self.computed.value());
        if stored == computed {
            return Ok(());
        }
        Err(Error::Checksum { what: DIRECTORY, stored, computed })
    }
}

/// Appends the trailer to a directory that lies at `offset`.
pub(super) fn write_trailer(directory: &mut Vec<u8>, offset: u64) {
    let (length, check) = (directory.len() as u64, crc32c(directory));
    directory.extend_from_slice(&offset.to_le_bytes());
    directory.extend_from_slice(&length.to_le_bytes());
    directory.extend_from_slice(&check.to_le_bytes());
    directory.extend_from_slice(END_MAGIC);
}
