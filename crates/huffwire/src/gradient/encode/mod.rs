//! Lossless encoders of quantized values. Every encoder codes any values.
//!
//! | encoder | symbol | code | Gajjala et al. (2020) |
//! |---|---|---|---|
//! | [`Huffman`] | a value | Huffman, from counts of all symbols | the baseline of section 3 |
//! | [`Rlh`] | a value and its run | Huffman, from counts of all symbols | run-length Huffman |
//! | [`Sh`] | a value | Huffman, from a sample | sample Huffman |
//! | [`Shs`] | a run of zeros, or a value | Huffman, from a sample of the share of zeros | sample Huffman with sparsity |
//! | [`RunLengths`] | a value and its run | bytes | run lengths alone |
//! | [`Elias`] | a value and its run | Elias γ, δ or ω | the baseline of the tables |
//! | [`QsgdElias`] | a gap and a level, or a level | Elias ω | - (QSGD, section 3.2) |
//! | [`Fixed`] | as any of the first four | Huffman, from earlier steps | - |
//! | [`Bitmap`] | a mask of which of eight values are 0, and a value that is not 0 | the lane coder | - |
//! | [`Auto`] | | that of the encoder with the smallest estimate | - |
//!
//! # Streams
//!
//! A stream begins with the number of values ([`count`]). If there is a codebook, it is part of the stream, and
//! [`Sizes`] reports its bytes. The stream does not depend on the width of the values: the same bytes come from `i8`
//! and from `i32`.
//!
//! Streams are hostile input. The caller gives the decoder a buffer for the values, since the caller knows the shape
//! of the tensor, and the decoder sizes no memory by what a stream claims. It returns [`Error::Malformed`] or a similar
//! error for a stream that was cut, has too many bytes, or claims another number of values; for a codebook that is no
//! complete code; and for a value that does not fit the buffer's width. Streams have no checksum: a flipped bit can
//! give other values, as many as before. Messages and files have checksums. After an error the contents of the buffer
//! are undefined.

mod auto;
mod bitmap;
mod bits;
mod book;
mod code;
mod elias;
mod fixed;
mod full_count;
mod kind;
mod qsgd_elias;
mod run_lengths;
mod sampled;
mod symbols;

pub use auto::{Auto, Estimate, estimates};
pub(super) use bitmap::is_of_layers;
pub use bitmap::{Bitmap, BitmapBooks, Depth};
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
use crate::wire::{Reader, put_varint};

/// An encoder of quantized values, and the decoder of its streams.
pub trait ValueEncoder: std::fmt::Debug + Send + Sync {
    /// The name of the encoder in reports and on the command line.
    fn name(&self) -> &'static str;

    /// Appends the stream of these values to `out`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for parameters outside their range. Any values can be encoded.
    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes>;

    /// Decodes a whole stream into `values`, which must have the length [`count`] of the stream.
    ///
    /// # Errors
    /// See the notes on [streams](self#streams).
    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()>;
}

/// The size of a stream, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sizes {
    /// The whole stream, codebooks included.
    pub total: usize,
    /// The codebooks in the stream.
    pub codebook: usize,
}

const WHAT: &str = "a stream of quantized values";

/// The number of values that a stream claims to have.
///
/// # Errors
/// [`Error::Truncated`] or [`Error::Malformed`] when the stream does not begin with a number.
pub fn count(stream: &[u8]) -> Result<usize> {
    Reader::new(WHAT, stream).size()
}

/// All encoders that need only the lowest and highest value, without [`Auto`], for comparisons.
#[must_use]
pub fn all(lowest: i32, highest: i32) -> Vec<Box<dyn ValueEncoder>> {
    let kinds = EncoderKind::all().filter(|kind| *kind != EncoderKind::Auto);
    kinds.map(|kind| kind.encoder((lowest, highest))).collect()
}

/// Writes the start of a stream.
fn put_count(out: &mut Vec<u8>, count: usize) {
    put_varint(out, count as u64);
}

/// Reads the start of a stream, which must have `room` values.
fn read_count<'a>(stream: &'a [u8], room: usize) -> Result<Reader<'a>> {
    let mut reader = Reader::new(WHAT, stream);
    let count = reader.size()?;
    if count != room {
        let detail =
            format!("it has {count} values, and the buffer is for {room}: make the buffer as long");
        return Err(Error::malformed(WHAT, 0, detail));
    }
    Ok(reader)
}

#[cold]
fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::malformed(WHAT, 0, detail)
}

/// The error for a stream that ends, after so many bytes, before its last value.
#[cold]
const fn cut(bytes: usize) -> Error {
    Error::Truncated { what: WHAT, offset: bytes, needed: 1, available: 0 }
}

/// The error for a value that does not fit the buffer's width.
#[cold]
fn too_wide(value: i32) -> Error {
    malformed(format!("value {value} does not fit 8 bits: decode to i32"))
}

/// The error for a run that goes beyond the last value.
#[cold]
fn too_long() -> Error {
    malformed("a run goes beyond the last value")
}

/// Signed to unsigned numbers, small magnitudes first.
#[inline]
const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// The inverse of [`zigzag`].
#[inline]
const fn unzigzag(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}
