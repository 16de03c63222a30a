//! Files: whole `.safetensors`, `.npy` or raw files, any tensor of them decodable alone. See
//! `docs/format.md`, section 9.
//!
//! A file is a header, *entries* one after the other (blocks, mostly), and at the end a directory and a trailer that
//! points to it. So a writer never has to go back, and a reader finds every block from the directory alone.
//!
//! This module makes and reads the bytes around the blocks. Where bytes come from and go to is the caller's business:
//! the crate `huffwire-io` reads and writes files with it.

mod directory;
pub(crate) mod frame;
mod item;
mod writer;

use std::ops::Range;

use frame::Frame;

use crate::error::Result;
use crate::wire::crc32c;

pub use directory::{Directory, SetRef};
pub use item::{EntryRef, Item, Original, TensorInfo};
pub use writer::{NewItem, Writer};

const DIRECTORY: &str = "the directory of a huffwire file";
const CHECKSUMS: u16 = 1;

static FRAME: Frame = Frame {
    magic: b"HUFFWIRE",
    end_magic: b"HWDE",
    version: 1,
    flags: CHECKSUMS,
    file: "a huffwire file",
    header: "the header of a huffwire file",
    trailer: "the trailer of a huffwire file",
    other: "is no huffwire file",
};

/// Bytes of the file header.
pub const HEADER_BYTES: usize = frame::HEADER_BYTES;
/// Bytes of the trailer, the last of the file.
pub const TRAILER_BYTES: usize = frame::TRAILER_BYTES;

/// Reads the header of a file; returns whether its entries have checksums.
///
/// # Errors
/// A typed error when the bytes are no header of a version this library reads.
pub fn read_header(bytes: &[u8]) -> Result<bool> {
    Ok(FRAME.read_header(bytes)? & CHECKSUMS != 0)
}

/// Reads the trailer (the last [`TRAILER_BYTES`] bytes) of a file of `file_bytes` bytes; returns
/// where the directory lies, and the checksum to pass to [`Directory::read`].
///
/// # Errors
/// A typed error when it is no trailer, or points outside the file.
pub fn read_trailer(trailer: &[u8], file_bytes: u64) -> Result<(Range<u64>, u32)> {
    FRAME.read_trailer(trailer, file_bytes)
}

/// The checksum of an entry in a file: CRC-32C of its bytes.
#[must_use]
pub fn checksum(entry: &[u8]) -> u32 {
    crc32c(entry)
}

/// Whether a name can be joined to a folder without leaving it.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !name.is_empty() && name != "." && name != ".." && !name.contains(forbidden)
}
