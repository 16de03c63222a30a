//! Files: whole `.safetensors`, `.npy` or raw files, any tensor of them decodable alone. See
//! `docs/format.md`, section 9.
//!
//! A file is a header, *entries* one after the other (blocks, mostly), and at the end a directory and a trailer that
//! points to it. So a writer never has to go back, and a reader finds every block from the directory alone.
//!
//! This module makes and reads the bytes around the blocks. Where bytes come from and go to is the caller's business:
//! the crate `huffwire-io` reads and writes files with it.

mod directory;
mod frame;
mod item;
mod writer;

use crate::wire::crc32c;

pub use directory::{Directory, SetRef};
pub use frame::{DirectoryCheck, HEADER_BYTES, TRAILER_BYTES, read_header, read_trailer};
pub use item::{EntryRef, Item, Original, TensorInfo};
pub use writer::{NewItem, Writer};

/// The most codebook sets of a file. A set takes few bytes in the file and up to some megabytes of memory.
const MAX_SETS: usize = 32;

const DIRECTORY: &str = "the directory of a huffwire file";

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
