//! Identities: hashes of what two ends must hold alike.

use std::fmt;

use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;
use twox_hash::xxhash3_128::{DEFAULT_SECRET_LENGTH, RawHasher, SecretBuffer};

/// Identity of a codebook: a hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodebookId(pub [u8; 8]);

/// Identity of a codebook set: a hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub [u8; 8]);

impl CodebookId {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(hash(b"huffwire codebook\0", content))
    }
}

impl SetId {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self(hash(b"huffwire codebook set\0", content))
    }

    /// The 32 bits that every message carries.
    #[must_use]
    pub const fn short(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }
}

fn hash(domain: &[u8], content: &[u8]) -> [u8; 8] {
    let digest = Sha256::new().chain_update(domain).chain_update(content).finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// Hash of the content of a tensor, or of a part of it: XXH3-128 of its bytes.
///
/// It tells one tensor from another after an accident. It does not protect against somebody who makes two tensors with
/// the same hash on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(bytes).to_le_bytes())
    }
}

/// Content that is hashed piece by piece.
#[derive(Clone)]
pub(crate) struct ContentHasher(RawHasher<&'static [u8; DEFAULT_SECRET_LENGTH]>);

impl ContentHasher {
    pub(crate) fn new() -> Self {
        Self(RawHasher::new(SecretBuffer::default()))
    }

    /// Adds the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all bytes.
    pub(crate) fn finish(&self) -> ContentHash {
        ContentHash(self.0.finish_128().to_le_bytes())
    }
}

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
hex_id!(CodebookId);
hex_id!(SetId);
hex_id!(ContentHash);

#[cfg(test)]
mod tests {
    use super::ContentHash;

    /// The hash of no bytes, as xxHash itself prints it (highest byte first).
    #[test]
    fn content_hashes_are_xxh3_of_128_bits() {
        let mut bytes = ContentHash::of(b"").0;
        bytes.reverse();
        assert_eq!(ContentHash(bytes).to_string(), "99aa06d3014798d86001c324468d497f");
    }
}
