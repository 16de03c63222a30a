//! Rows of the built-in books' tables, checked by the compiler.

use crate::codebook::{Alphabet, CodeLimit, Lengths};

/// A built-in book.
pub(super) struct Shape {
    /// The parameters of the distribution it was made for.
    pub(super) about: &'static str,
    pub(super) lengths: Lengths,
}

pub(super) const fn centred(first: usize, direct: &[u8], escape: u8, zero: u8) -> Lengths {
    Lengths::constant(Alphabet::Centred, CodeLimit::Bits8, first, direct, escape, zero)
}

pub(super) const fn plain(
    width: u8,
    limit: CodeLimit,
    first: usize,
    direct: &[u8],
    escape: u8,
) -> Lengths {
    Lengths::constant(Alphabet::Plain { width }, limit, first, direct, escape, 0)
}
