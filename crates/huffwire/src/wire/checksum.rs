//! The checksum of the format: CRC-32C (Castagnoli), by a library that uses the processor's instructions.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC-32C of several pieces, as if they were one.
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    /// The checksum of nothing.
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// The same with a piece behind it.
    #[must_use]
    pub(crate) fn with(mut self, piece: &[u8]) -> Self {
        self.0.update(piece);
        self
    }

    /// The checksum of all pieces.
    pub(crate) fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_standard_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(Crc32c::new().with(b"1234").with(b"").with(b"56789").value(), 0xe306_9283);
    }
}
