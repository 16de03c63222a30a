//! Codebooks: which symbol has which code, fixed before the data is seen.

mod bits12;
mod bits8;
pub mod build;
mod builtin;
mod builtin_data;
mod canonical;
#[cfg(feature = "json")]
mod json;
mod lengths;
mod set;

use std::fmt;

use sha2::{Digest, Sha256};

pub use canonical::Codebook;
pub use lengths::{
    Alphabet, CodeLimit, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths, MAX_LENGTHS_BYTES, WINDOW,
    ZERO_SLOT,
};

pub use set::{Binding, CodebookSet, SetBuilder};

/// Identity of a codebook: a hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodebookId(pub [u8; 8]);

/// Identity of a codebook set: a hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub [u8; 8]);

impl CodebookId {
    fn of(content: &[u8]) -> Self {
        Self(hash(b"huffwire codebook\0", content))
    }
}

impl SetId {
    fn of(content: &[u8]) -> Self {
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
