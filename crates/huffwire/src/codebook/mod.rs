//! Codebooks: which symbol has which code, fixed before the data is seen.

mod bits12;
mod bits8;
mod canonical;
pub mod fit;
mod lengths;
mod multi_symbol;

pub use canonical::Codebook;
pub use lengths::{
    Alphabet, CodeLimit, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths, MAX_LENGTHS_BYTES, WINDOW,
    ZERO_SLOT,
};
pub(crate) use multi_symbol::{MultiSymbol, WINDOW_BITS};
