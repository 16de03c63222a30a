//! Codebooks from earlier steps: no count, no sample, no codebook on the wire.

use super::super::states::{States, StatesMut, with_states};
use super::book::{self, Book, coded_bits};
use super::code::Codes;
use super::drift::Drift;
use super::symbols::{Alphabet, Counts};
use super::{Sizes, StateEncoder, malformed, put_count, read_count};
use crate::codebook::{CodebookId, SetId};
use crate::error::{Error, Result};

/// A codebook that both ends hold, over any of the alphabets: the idea of single-stage Huffman coding (arXiv
/// 2601.10673) for the symbols of Gajjala et al.
///
/// Gradients of neighbouring steps have nearly the same frequencies. So the codebook is made from earlier
/// ones, and a stream carries 4 bytes that tell which one it was. Symbols that were never seen take an
/// escape. [`Fixed::drift`] tells when it is time for a new one; [`Keeper`](super::Keeper) watches it.
///
/// ```
/// use huffwire::gradient::encode::{Alphabet, Fixed, StateEncoder};
///
/// let step = |n: i32| (0..5000).map(|i| ((i * i + n * i) % 100 / 97) as i8).collect::<Vec<_>>();
/// let book = Fixed::train(Alphabet::ZeroRuns(200), [step(1)[..].into(), step(2)[..].into()])?;
///
/// let (sent, mut received) = (step(3), vec![0i8; 5000]);
/// let mut stream = Vec::new();
/// book.encode(sent[..].into(), &mut stream)?;
///
/// let held = Fixed::from_bytes(&book.to_bytes())?;
/// held.decode(&stream, received[..].as_mut().into())?;
/// assert_eq!(received, sent);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fixed {
    book: Book,
    codes: Codes,
    id: CodebookId,
}

/// Bytes of the id that streams carry.
const SHORT_ID: usize = 4;

impl Fixed {
    /// A codebook for states like these.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an alphabet that makes no sense.
    pub fn train<'a>(
        alphabet: Alphabet,
        tensors: impl IntoIterator<Item = States<'a>>,
    ) -> Result<Self> {
        alphabet.check()?;
        let mut counts = Counts::default();
        for states in tensors {
            counts.add(alphabet, states);
        }
        Ok(Self::from_counts(alphabet, &counts))
    }

    pub(super) fn from_counts(alphabet: Alphabet, counts: &Counts) -> Self {
        let sorted = counts.sorted();
        // What was never seen is as likely as what was seen once (Good and Turing).
        let once = sorted.iter().filter(|(_, count)| *count == 1).count();
        let weighed = sorted.into_iter().map(|(symbol, count)| (symbol, count as f64));
        Self::new(Book::new(alphabet, weighed.collect(), Some(once.max(1) as f64)))
    }

    fn new(book: Book) -> Self {
        Self { codes: book.codes(), id: book.id(), book }
    }

    /// What it codes.
    #[must_use]
    pub const fn alphabet(&self) -> Alphabet {
        self.book.alphabet()
    }

    /// Its identity: a hash of its content.
    #[must_use]
    pub const fn id(&self) -> CodebookId {
        self.id
    }

    /// Its content, to be sent to whom streams will be sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.book.write(&mut bytes);
        bytes
    }

    /// Reads what [`Fixed::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`] or [`Error::InvalidCodebook`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match Book::read(bytes)? {
            // Books in streams may have none: they are made for the very states that follow.
            (book, _) if !book.has_escape() => {
                Err(Error::codebook("states that it has no code for need an escape"))
            }
            (book, []) => Ok(Self::new(book)),
            (_, left) => Err(malformed(format!("{} bytes behind a codebook", left.len()))),
        }
    }

    /// What this codebook costs for some states, beside one made for them.
    #[must_use]
    pub fn drift(&self, states: States<'_>) -> Drift {
        self.drift_of(&self.alphabet().count(states))
    }

    pub(super) fn drift_of(&self, counts: &Counts) -> Drift {
        let fresh = Book::counted(self.alphabet(), counts, true);
        Drift {
            spent_bits: coded_bits(&self.codes, counts),
            fresh_bits: coded_bits(&fresh.codes(), counts),
        }
    }
}

impl StateEncoder for Fixed {
    fn name(&self) -> &'static str {
        match self.alphabet() {
            Alphabet::States => "huffman-fixed",
            Alphabet::Pairs => "rlh-fixed",
            Alphabet::ZeroRuns(_) => "shs-fixed",
        }
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, states.len());
        out.extend_from_slice(&self.id.0[..SHORT_ID]);
        book::encode(self.alphabet(), &self.codes, states, out);
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, states.len())?;
        check_id(reader.array()?, self.id)?;
        with_states!(StatesMut, states, states => self.book.decode(reader.rest(), states))
    }
}

/// Whether a stream was made with the codebook at hand.
pub(super) fn check_id(wanted: [u8; SHORT_ID], held: CodebookId) -> Result<()> {
    if held.0.starts_with(&wanted) {
        return Ok(());
    }
    let wanted = wanted.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(Error::SetMismatch { wanted, held: SetId(held.0) })
}
