//! Encoders: values to bytes and back, exactly, whatever the values are.
//!
//! | encoder | what a symbol is | its code | the paper |
//! |---|---|---|---|
//! | [`Huffman`] | a value | Huffman, all counted | the baseline of section 3 |
//! | [`Rlh`] | a value and how often it repeats | Huffman, all counted | run-length Huffman |
//! | [`Sh`] | a value | Huffman, from a sample | sample Huffman |
//! | [`Shs`] | a run of zeros, or a value | Huffman, from a sample of the share of zeros | sample Huffman with sparsity |
//! | [`RunLengths`] | a value and how often it repeats | bytes | run lengths alone |
//! | [`Elias`] | a value and how often it repeats | Elias γ, δ or ω | the baseline of its tables |
//! | [`QsgdElias`] | a gap and a level, or a level | Elias ω | QSGD's own, its section 3.2 |
//! | [`Fixed`] | any of the first four | Huffman, from earlier steps | beyond it |
//! | [`Bitmap`] | which of eight are 0, and a value that is not | the lane coder | beyond it |
//! | [`Auto`] | | whichever should be the smallest | beyond it |
//!
//! # Streams
//!
//! A stream begins with the number of values ([`count`]); a codebook, where there is one, is part of it and
//! its bytes are reported apart ([`Sizes`]). The values' width is no part of it: the same bytes come from
//! `i8` and from `i32`.
//!
//! Streams are hostile input. A decoder gets the room for the values from its caller, who knows the
//! shape of his tensor, and allocates nothing on the word of a stream. Streams that were cut, that claim
//! another number of values or have bytes too many, codebooks that are no codes, and values that do not fit
//! the width asked for, are [`Error::Malformed`] and its like. A flipped bit of the payload can
//! give other values of the same number: streams have no checksum, that is the task of what they travel
//! in. After an error the contents of the room are undefined.

mod auto;
mod bitmap;
mod bits;
mod book;
mod code;
mod drift;
mod elias;
mod fixed;
mod full_count;
mod kind;
mod qsgd_elias;
mod run_lengths;
mod sampled;
mod symbols;

pub use auto::{Auto, Estimate, estimates};
pub use bitmap::{Bitmap, BitmapBooks, Depth};
pub use drift::{Drift, FixedBooks, RefreshPolicy};
pub use elias::{Elias, EliasCode};
pub use fixed::Fixed;
pub use full_count::{Huffman, Rlh};
pub use kind::EncoderKind;
pub use qsgd_elias::{QsgdElias, QsgdScheme};
pub use run_lengths::RunLengths;
pub use sampled::{DEFAULT_RUNS, Sh, Shs};
pub use symbols::{MAX_RUNS, RunAlphabet, Shannon, shannon};

use super::values::{Values, ValuesMut};
use crate::error::{Error, Result};
use crate::format::reader::{Reader, put_varint};

/// What an encoder is.
pub trait ValueEncoder: std::fmt::Debug {
    /// A short name, as in reports.
    fn name(&self) -> &'static str;

    /// Appends the stream of these values to `out`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for parameters that make no sense. Any values can be encoded.
    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes>;

    /// Decodes a whole stream; `values` has exactly the [`count`] of the stream.
    ///
    /// # Errors
    /// See the notes on [streams](self#streams).
    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()>;
}

/// The size of a stream, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sizes {
    /// The stream, codebook included.
    pub total: usize,
    /// The codebooks in it.
    pub codebook: usize,
}

const WHAT: &str = "a stream of values";

/// How many values a stream says it has.
///
/// # Errors
/// [`Error::Truncated`] or [`Error::Malformed`] when it does not begin with a number.
pub fn count(stream: &[u8]) -> Result<usize> {
    Reader::new(WHAT, stream).size()
}

/// Every encoder that needs to be told nothing but the lowest and highest value, for comparisons.
#[must_use]
pub fn all(lowest: i32, highest: i32) -> Vec<Box<dyn ValueEncoder>> {
    let kinds = EncoderKind::all().filter(|kind| *kind != EncoderKind::Auto);
    kinds.map(|kind| kind.encoder((lowest, highest))).collect()
}

/// Writes the start of a stream.
fn put_count(out: &mut Vec<u8>, count: usize) {
    put_varint(out, count as u64);
}

/// Reads the start of a stream, which must have as many values as there is room for.
fn read_count<'a>(stream: &'a [u8], room: usize) -> Result<Reader<'a>> {
    let mut reader = Reader::new(WHAT, stream);
    let count = reader.size()?;
    if count != room {
        let detail = format!("it has {count} values and there is room for {room}: give it as many");
        return Err(Error::malformed(WHAT, 0, detail));
    }
    Ok(reader)
}

#[cold]
fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::malformed(WHAT, 0, detail)
}

/// A value that does not fit the caller's width.
#[cold]
fn too_wide(value: i32) -> Error {
    malformed(format!("value {value} does not fit 8 bits: decode to i32"))
}

/// A run of values that is longer than what is left.
#[cold]
fn too_long() -> Error {
    malformed("a run goes beyond the last value")
}

/// Signed to unsigned, small magnitudes first.
#[inline]
const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// The inverse of [`zigzag`].
#[inline]
const fn unzigzag(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}
