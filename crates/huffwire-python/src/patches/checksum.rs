//! Checksums of tensors, by the names that publishers give them.

use pyo3::PyResult;
use twox_hash::XxHash3_128;

use crate::error::Class;

/// A checksum that is being made.
pub(super) enum Checksum {
    Xxh3(Box<XxHash3_128>),
    Adler32(Adler32),
}

impl Checksum {
    /// The checksum of this name.
    ///
    /// # Errors
    /// `OptionError`.
    pub(super) fn named(name: &str) -> PyResult<Self> {
        match name {
            "xxh3-128" => Ok(Self::Xxh3(Box::new(XxHash3_128::new()))),
            "adler32" => Ok(Self::Adler32(Adler32::new())),
            _ => {
                Err(Class::Option
                    .error(format!("checksum={name:?}: give \"xxh3-128\" or \"adler32\"")))
            }
        }
    }

    /// Counts more bytes in.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Xxh3(hasher) => hasher.write(bytes),
            Self::Adler32(adler) => adler.update(bytes),
        }
    }

    /// The checksum in hexadecimal digits, the highest first.
    pub(super) fn digits(self) -> String {
        match self {
            Self::Xxh3(hasher) => format!("{:032x}", hasher.finish_128()),
            Self::Adler32(adler) => format!("{:08x}", adler.value()),
        }
    }
}

/// Adler-32, the checksum of zlib (RFC 1950, section 8.2).
pub(super) struct Adler32 {
    a: u32,
    b: u32,
}

impl Adler32 {
    const PRIME: u32 = 65521;
    /// So many bytes can be added before a sum exceeds 32 bits.
    const RUN: usize = 5552;

    const fn new() -> Self {
        Self { a: 1, b: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(Self::RUN) {
            for &byte in run {
                self.a += u32::from(byte);
                self.b += self.a;
            }
            self.a %= Self::PRIME;
            self.b %= Self::PRIME;
        }
    }

    const fn value(&self) -> u32 {
        self.b << 16 | self.a
    }
}
