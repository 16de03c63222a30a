//! Codebooks: which symbol has which code, fixed before the data is seen.

mod canonical;
pub mod fit;
mod lengths;
mod long_tables;
mod tables;

pub use canonical::Codebook;
pub use lengths::{
    Alphabet, CodeLimit, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths, MAX_LENGTHS_BYTES, WINDOW,
    ZERO_SLOT,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use long_tables::{LongTables, MOST_BOUNDS};
#[cfg(target_arch = "x86_64")]
pub(crate) use tables::{MARK, Tables};
