//! Huffman codes from counts of everything: plain Huffman and RLH.

use super::super::states::{States, StatesMut, with_states};
use super::book::{self, Book};
use super::symbols::Alphabet;
use super::{Sizes, StateEncoder, malformed, put_count, read_count};
use crate::error::Result;

/// Huffman over states, with a codebook made from them: the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Huffman;

/// Run-length Huffman (Gajjala et al. 2020, section 3): each pair of a state and its number of repetitions
/// is one symbol, and the codebook is made from all pairs of the tensor.
///
/// The codebook lists every pair that occurs, up to 65535 (rarer ones take an escape), which is what its
/// authors' own figures leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rlh;

impl StateEncoder for Huffman {
    fn name(&self) -> &'static str {
        "huffman"
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        encode_counted(Alphabet::States, states, out)
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == Alphabet::States, stream, states)
    }
}

impl StateEncoder for Rlh {
    fn name(&self) -> &'static str {
        "rlh"
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        encode_counted(Alphabet::Pairs, states, out)
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == Alphabet::Pairs, stream, states)
    }
}

fn encode_counted(alphabet: Alphabet, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
    let book = || Book::counted(alphabet, &alphabet.count(states), false);
    Ok(encode_with_book(book, states, out))
}

/// A stream of the number of states, a codebook, and codes.
pub(super) fn encode_with_book(
    book: impl FnOnce() -> Book,
    states: States<'_>,
    out: &mut Vec<u8>,
) -> Sizes {
    let start = out.len();
    put_count(out, states.len());
    let mut codebook = 0;
    if !states.is_empty() {
        let book = book();
        codebook = book.write(out);
        book::encode(book.alphabet(), &book.codes(), states, out);
    }
    Sizes { total: out.len() - start, codebook }
}

/// Decodes what [`encode_with_book`] made.
pub(super) fn decode_with_book(
    is_right: impl FnOnce(Alphabet) -> bool,
    stream: &[u8],
    states: StatesMut<'_>,
) -> Result<()> {
    let mut reader = read_count(stream, states.len())?;
    if states.is_empty() {
        return reader.finish();
    }
    let (book, codes) = Book::read(reader.rest())?;
    if !is_right(book.alphabet()) {
        return Err(malformed(format!("symbols of another encoder: {:?}", book.alphabet())));
    }
    with_states!(StatesMut, states, states => book.decode(codes, states))
}
