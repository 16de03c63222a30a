//! Codebooks from earlier steps over run alphabets: the sender counts nothing, and no codebook is sent.

use super::super::values::{ValueBuf, Values, ValuesMut, with_values};
use super::book::{self, Book, coded_bits};
use super::code::Codes;
use super::symbols::{Counts, RunAlphabet};
use super::{Sizes, ValueEncoder, malformed, put_count, read_count};
use crate::error::{Error, Result};
use crate::ids::{CodebookId, SetId};
use crate::refresh::Refreshable;

/// A codebook over a run alphabet that both ends hold. This is the idea of Agrawal et al. (arXiv 2601.10673), for the
/// symbols of Gajjala et al. (2020).
///
/// Gradients of neighbouring steps have nearly the same frequencies. So the codebook is made from earlier
/// gradients, and a stream carries 4 bytes of the codebook's id. Symbols without a code take an escape. A [`Refresher`](crate::refresh::Refresher)
/// tells when it is time for a new codebook.
///
/// ```
/// use huffwire::gradient::encode::{RunAlphabet, Fixed, ValueEncoder};
///
/// let step = |n: i32| (0..5000).map(|i| ((i * i + n * i) % 100 / 97) as i8).collect::<Vec<_>>();
/// let book = Fixed::train(RunAlphabet::ZeroRuns(200), [step(1)[..].into(), step(2)[..].into()])?;
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

/// Number of bytes of the id in a stream.
const SHORT_ID: usize = 4;

impl Fixed {
    /// A codebook made from these values.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an alphabet that makes no sense.
    pub fn train<'a>(
        alphabet: RunAlphabet,
        tensors: impl IntoIterator<Item = Values<'a>>,
    ) -> Result<Self> {
        alphabet.check()?;
        let mut counts = Counts::default();
        for values in tensors {
            counts.add(alphabet, values);
        }
        Ok(Self::from_counts(alphabet, &counts))
    }

    fn from_counts(alphabet: RunAlphabet, counts: &Counts) -> Self {
        let sorted = counts.sorted();
        // A symbol that never occurred is as likely as one that occurred once (Good and Turing).
        let once = sorted.iter().filter(|(_, count)| *count == 1).count();
        let weighed = sorted.into_iter().map(|(symbol, count)| (symbol, count as f64));
        Self::new(Book::new(alphabet, weighed.collect(), Some(once.max(1) as f64)))
    }

    fn new(book: Book) -> Self {
        Self { codes: book.codes(), id: book.id(), book }
    }

    fn count(&self, samples: &[ValueBuf]) -> Counts {
        let mut counts = Counts::default();
        for sample in samples {
            counts.add(self.alphabet(), sample.view());
        }
        counts
    }

    /// The alphabet of the codebook.
    #[must_use]
    pub const fn alphabet(&self) -> RunAlphabet {
        self.book.alphabet()
    }

    /// The id of the codebook: a hash of its content.
    #[must_use]
    pub const fn id(&self) -> CodebookId {
        self.id
    }

    /// The codebook as bytes, for the receiver of streams.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.book.write(&mut bytes);
        bytes
    }

    /// Reads a codebook that [`Fixed::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`] or [`Error::InvalidCodebook`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match Book::read(bytes)? {
            // Only books in streams may lack an escape, since they are made for the values that follow.
            (book, _) if !book.has_escape() => {
                Err(Error::codebook("values that it has no code for need an escape"))
            }
            (book, []) => Ok(Self::new(book)),
            (_, left) => Err(malformed(format!("{} bytes behind a codebook", left.len()))),
        }
    }
}

impl Refreshable for Fixed {
    type Message<'a> = Values<'a>;
    type Sample = ValueBuf;

    fn size(message: &Values<'_>) -> usize {
        message.len()
    }

    fn sample_size(sample: &ValueBuf) -> usize {
        sample.view().len()
    }

    fn sample(message: &Values<'_>, place: u64) -> Option<ValueBuf> {
        message.sample(place)
    }

    fn bits(&self, samples: &[ValueBuf]) -> Result<u64> {
        Ok(coded_bits(&self.codes, &self.count(samples)))
    }

    fn refit(&self, samples: &[ValueBuf]) -> Result<Self> {
        if samples.iter().all(|sample| sample.view().is_empty()) {
            return Ok(self.clone());
        }
        Ok(Self::from_counts(self.alphabet(), &self.count(samples)))
    }

    fn shipping_bytes(&self) -> usize {
        self.to_bytes().len()
    }
}

impl ValueEncoder for Fixed {
    fn name(&self) -> &'static str {
        match self.alphabet() {
            RunAlphabet::Values => "huffman-fixed",
            RunAlphabet::Pairs => "rlh-fixed",
            RunAlphabet::ZeroRuns(_) => "shs-fixed",
        }
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, values.len());
        out.extend_from_slice(&self.id.0[..SHORT_ID]);
        book::encode(self.alphabet(), &self.codes, values, out);
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, values.len())?;
        check_id(reader.array()?, SetId(self.id.0))?;
        with_values!(ValuesMut, values, values => self.book.decode(reader.rest(), values))
    }
}

/// Checks that a stream was made with the codebooks at hand.
pub(super) fn check_id(wanted: [u8; SHORT_ID], held: SetId) -> Result<()> {
    if held.0.starts_with(&wanted) {
        return Ok(());
    }
    let wanted = wanted.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(Error::SetMismatch { wanted, held: vec![held] })
}
