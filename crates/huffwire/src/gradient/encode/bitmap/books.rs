//! Codebooks for bitmaps that both ends hold.

use super::super::super::values::Values;
use super::super::drift::Drift;
use super::fitted::{fitted, only_one, price};
use super::plane::check_alphabet;
use super::{BLOCK, Block, MAX_DEPTH};
use crate::codebook::{Codebook, CodebookId, Lengths};
use crate::error::{Error, Result};
use crate::format::reader::Reader;
use crate::platform::Platform;
use crate::pmf::Histogram;
use sha2::{Digest, Sha256};

/// A codebook for each plane of a [`Bitmap`](super::Bitmap), made from earlier gradients; how often these were
/// split is part of it.
///
/// ```
/// use std::sync::Arc;
///
/// use huffwire::gradient::encode::{Bitmap, BitmapBooks, ValueEncoder};
///
/// let step = |n: usize| (0..50_000).map(|i| (i * (i + n) % 31 / 29) as i8).collect::<Vec<_>>();
/// let books = BitmapBooks::train([step(1)[..].into(), step(2)[..].into()])?;
/// let bitmap = Bitmap::with_books(Arc::new(books));
///
/// let (sent, mut received) = (step(3), vec![0i8; 50_000]);
/// let mut stream = Vec::new();
/// assert_eq!(bitmap.encode(sent[..].into(), &mut stream)?.codebook, 0);
/// bitmap.decode(&stream, received[..].as_mut().into())?;
/// assert_eq!(received, sent);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapBooks {
    books: Vec<Codebook>,
    id: CodebookId,
}

impl BitmapBooks {
    /// Codebooks for values like these.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when there are none.
    pub fn train<'a>(tensors: impl IntoIterator<Item = Values<'a>> + Clone) -> Result<Self> {
        let platform = Platform::detect();
        let mut block = Block::default();
        let mut layers: [Histogram; MAX_DEPTH + 1] = Default::default();
        let mut kept: [Histogram; MAX_DEPTH] = Default::default();
        for values in tensors {
            for start in (0..values.len()).step_by(BLOCK) {
                let part = values.slice(start, start + BLOCK);
                block.take(platform, part, MAX_DEPTH);
                for layer in 0..MAX_DEPTH {
                    let [of_kept, all] = block.counts(platform, layer, 1);
                    kept[layer].merge(&of_kept);
                    layers[layer].merge(&all);
                }
                layers[MAX_DEPTH].add(block.layer(MAX_DEPTH));
            }
        }
        if layers[0].total() == 0 {
            return Err(Error::option("no values to make codebooks from"));
        }
        // The same rule as for a block; but where all was 0, what comes will nearly be.
        let pays = |layer: &usize| {
            let none = kept[*layer].total() == 0;
            none || price(&kept[*layer]) + price(&layers[layer + 1]) < price(&layers[*layer])
        };
        let depth = (0..MAX_DEPTH).take_while(pays).count();
        let planes = kept[..depth].iter().chain([&layers[depth]]);
        let books = planes.map(|counts| {
            let mut counts = counts.clone();
            if counts.counts().iter().filter(|count| **count > 0).count() < 2 {
                // Something else may come: there must be a code for it.
                counts = Histogram::from_counts(counts.counts().map(|count| count + 1));
            }
            let made = fitted(&counts).ok_or_else(|| Error::codebook("no code for a plane"));
            made.map(|(lengths, _)| lengths)
        });
        Ok(Self::new(books.collect::<Result<_>>()?))
    }

    /// What these codebooks cost for some values, beside ones made for them. It looks at all values; so at
    /// every n-th tensor, as [`Keeper`](super::super::Keeper) does.
    #[must_use]
    pub fn drift(&self, values: Values<'_>) -> Drift {
        let fresh_bits = Self::train([values]).map_or(0, |fresh| fresh.bits(values));
        Drift { spent_bits: self.bits(values), fresh_bits }
    }

    /// Bits of the planes of some values.
    fn bits(&self, values: Values<'_>) -> u64 {
        let mut block = Block::default();
        let mut bits = 0;
        for start in (0..values.len()).step_by(BLOCK) {
            block.take(Platform::detect(), values.slice(start, start + BLOCK), self.depth());
            for (plane, book) in self.books.iter().enumerate() {
                let counts = Histogram::of(block.plane(plane, self.depth()));
                bits += match only_one(&counts) {
                    // It is told.
                    Some(_) => 8,
                    None => {
                        let prices = counts.counts().iter().zip(book.prices());
                        let coded = prices.map(|(count, price)| count * u64::from(*price)).sum();
                        // It is left as it is where that takes less.
                        (8 * counts.total()).min(coded)
                    }
                };
            }
        }
        bits
    }

    fn new(lengths: Vec<Lengths>) -> Self {
        let mut this = Self {
            books: lengths.into_iter().map(Codebook::new).collect(),
            id: CodebookId([0; 8]),
        };
        let digest = Sha256::new().chain_update(b"huffwire bitmap books\0");
        let digest = digest.chain_update(this.to_bytes()).finalize();
        this.id.0.copy_from_slice(&digest[..8]);
        this
    }

    /// Their identity: a hash of their content.
    #[must_use]
    pub const fn id(&self) -> CodebookId {
        self.id
    }

    /// How often zeros are split off.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.books.len() - 1
    }

    /// One for each plane: what is not 0 in the values, in the masks of the first split …, and the masks
    /// of the last split.
    #[must_use]
    pub fn books(&self) -> &[Codebook] {
        &self.books
    }

    /// Their content, to be sent to whom streams will be sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.depth() as u8];
        self.books.iter().for_each(|book| book.lengths().write(&mut bytes));
        bytes
    }

    /// Reads what [`BitmapBooks::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Malformed`] or [`Error::InvalidCodebook`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("codebooks of bitmaps", bytes);
        let depth = usize::from(reader.u8()?);
        if depth > MAX_DEPTH {
            return Err(reader.malformed(format!("{depth} splits")));
        }
        let mut books = Vec::new();
        for _ in 0..=depth {
            let (lengths, taken) = Lengths::read(reader.clone().rest())?;
            reader.take(taken)?;
            check_alphabet(&lengths)?;
            books.push(lengths);
        }
        reader.finish()?;
        Ok(Self::new(books))
    }
}
