//! Huffman codes from counts of all symbols: plain Huffman and RLH.

use super::super::values::{Values, ValuesMut, with_values};
use super::book::{self, Book};
use super::symbols::RunAlphabet;
use super::{Sizes, ValueEncoder, malformed, put_count, read_count};
use crate::error::Result;

/// Huffman codes over values. The codebook is made from all values of the tensor, and is part of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Huffman;

/// Run-length Huffman, RLH (Gajjala et al. 2020, section 3): each pair of a value and its number of repetitions
/// is one symbol. The codebook is made from all pairs of the tensor.
///
/// The codebook lists up to 65535 pairs; rarer pairs take an escape. It is part of the stream and of its size, which
/// the figures of the authors leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rlh;

impl ValueEncoder for Huffman {
    fn name(&self) -> &'static str {
        "huffman"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        encode_full_count(RunAlphabet::Values, values, out)
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == RunAlphabet::Values, stream, values)
    }
}

impl ValueEncoder for Rlh {
    fn name(&self) -> &'static str {
        "rlh"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        encode_full_count(RunAlphabet::Pairs, values, out)
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == RunAlphabet::Pairs, stream, values)
    }
}

fn encode_full_count(
    alphabet: RunAlphabet,
    values: Values<'_>,
    out: &mut Vec<u8>,
) -> Result<Sizes> {
    let book = || Book::from_counts(alphabet, &alphabet.count(values), false);
    Ok(encode_with_book(book, values, out))
}

/// Writes a stream of the number of values, a codebook, and codes.
pub(super) fn encode_with_book(
    book: impl FnOnce() -> Book,
    values: Values<'_>,
    out: &mut Vec<u8>,
) -> Sizes {
    let start = out.len();
    put_count(out, values.len());
    let mut codebook = 0;
    if !values.is_empty() {
        let book = book();
        codebook = book.write(out);
        book::encode(book.alphabet(), &book.codes(), values, out);
    }
    Sizes { total: out.len() - start, codebook }
}

/// Decodes what [`encode_with_book`] made.
pub(super) fn decode_with_book(
    is_right: impl FnOnce(RunAlphabet) -> bool,
    stream: &[u8],
    values: ValuesMut<'_>,
) -> Result<()> {
    let mut reader = read_count(stream, values.len())?;
    if values.is_empty() {
        return reader.finish();
    }
    let (book, codes) = Book::read(reader.rest())?;
    if !is_right(book.alphabet()) {
        return Err(malformed(format!("symbols of another encoder: {:?}", book.alphabet())));
    }
    with_values!(ValuesMut, values, values => book.decode(codes, values))
}
