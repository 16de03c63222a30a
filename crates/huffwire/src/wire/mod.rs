//! Bytes from outside and bytes to be written: checked fields, variable-length numbers, the checksum.

mod checksum;
mod reader;
mod writer;

pub(crate) use checksum::{Crc32c, crc32c};
pub(crate) use reader::Reader;
pub(crate) use writer::{put_string, put_varint};
