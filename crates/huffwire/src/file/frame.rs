//! What files of every kind begin and end with: a header of 16 bytes, and a trailer of 24 that points to the
//! directory before it. So a writer never has to go back.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::wire::{Reader, crc32c};

/// Bytes of a file header.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of a trailer, the last of a file.
pub(crate) const TRAILER_BYTES: usize = 24;

/// A kind of file.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) magic: &'static [u8; 8],
    pub(crate) end_magic: &'static [u8; 4],
    pub(crate) version: u16,
    /// Flags that have a meaning.
    pub(crate) flags: u16,
    /// How errors call the file, its header, its trailer.
    pub(crate) file: &'static str,
    pub(crate) header: &'static str,
    pub(crate) trailer: &'static str,
    /// What a file without the magic does: "is no …".
    pub(crate) other: &'static str,
}

impl Frame {
    /// Reads the header; returns the flags.
    pub(crate) fn read_header(&self, bytes: &[u8]) -> Result<u16> {
        let what = self.header;
        let mut reader = Reader::new(what, bytes);
        if reader.take(self.magic.len())? != self.magic {
            return Err(Error::malformed(what, 0, format!("this {}", self.other)));
        }
        let version = reader.u16()?;
        if version != self.version {
            let (found, supported) = (version.into(), self.version.into());
            return Err(Error::UnknownVersion { what: self.file, found, supported });
        }
        let flags = reader.u16()?;
        let (stored, computed) = (reader.u32()?, crc32c(&bytes[..HEADER_BYTES - 4]));
        if stored != computed {
            return Err(Error::Checksum { what, stored, computed });
        }
        if flags & !self.flags != 0 {
            return Err(Error::malformed(what, 10, "flags that this version does not know"));
        }
        Ok(flags)
    }

    pub(crate) fn write_header(&self, flags: u16) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(self.magic);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..12].copy_from_slice(&flags.to_le_bytes());
        let check = crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the trailer of a file of `file_bytes` bytes; returns where the directory lies, and its checksum.
    pub(crate) fn read_trailer(
        &self,
        trailer: &[u8],
        file_bytes: u64,
    ) -> Result<(Range<u64>, u32)> {
        let what = self.trailer;
        let mut reader = Reader::new(what, trailer);
        let (offset, length, check) = (reader.u64()?, reader.u64()?, reader.u32()?);
        if &reader.array()? != self.end_magic {
            return Err(reader.malformed(format!("the file was cut, or {}", self.other)));
        }
        reader.finish()?;
        let end = offset.checked_add(length);
        let expected = file_bytes.checked_sub(TRAILER_BYTES as u64);
        if end.is_none() || end != expected || offset < HEADER_BYTES as u64 {
            return Err(Error::malformed(what, 0, "it points to a directory that cannot be there"));
        }
        Ok((offset..offset + length, check))
    }

    /// Appends the trailer to a directory that lies at `offset`.
    pub(crate) fn write_trailer(&self, directory: &mut Vec<u8>, offset: u64) {
        let (length, check) = (directory.len() as u64, crc32c(directory));
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(&length.to_le_bytes());
        directory.extend_from_slice(&check.to_le_bytes());
        directory.extend_from_slice(self.end_magic);
    }
}
