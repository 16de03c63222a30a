//! Codebooks for bitmaps that both ends hold: an ordinary codebook set with a book for each layer.

use std::sync::Arc;

use super::super::super::values::{ValueBuf, Values};
use super::MOST_VALUES;
use super::layers::{Layers, MAX_DEPTH};
use super::price::{BITS12_GAIN, coded_bytes, lanes_from};
use crate::codebook::fit::{self, Effort};
use crate::codebook::{CodeLimit, Lengths};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::planes::Layout;
use crate::refresh::Refreshable;
use crate::set::{Binding, CodebookSet, FIRST_LAYER, LAST_LAYER, SetBuilder};
use crate::stats::{Histogram, Pmf};

/// Codebooks for the planes of a [`Bitmap`](super::Bitmap), made from earlier gradients.
///
/// The codebooks are an ordinary [`CodebookSet`], which is known by its id and travels as
/// [`CodebookSet::to_bytes`]. A binding names the book of each layer: that of layer `l` is bound to the plane
/// [`FIRST_LAYER`]` + l` of any type, in the layout of bytes. The last layer that is bound is the depth of the bitmap.
/// Bindings advise the sender alone: streams name the book of each plane by its number.
///
/// ```
/// use std::sync::Arc;
///
/// use huffwire::CodebookSet;
/// use huffwire::gradient::encode::{Bitmap, BitmapBooks, ValueEncoder};
///
/// let step = |n: usize| (0..50_000).map(|i| (i * (i + n) % 31 / 29) as i8).collect::<Vec<_>>();
/// let books = BitmapBooks::train([step(1)[..].into(), step(2)[..].into()])?;
/// let (sent, mut received) = (step(3), vec![0i8; 50_000]);
///
/// let held = CodebookSet::from_bytes(&books.set().to_bytes())?;
/// let mut stream = Vec::new();
/// let sizes = Bitmap::with_books(Arc::new(books)).encode(sent[..].into(), &mut stream)?;
/// assert_eq!(sizes.codebook, 0);
///
/// let bitmap = Bitmap::with_books(Arc::new(BitmapBooks::from_set(held)?));
/// bitmap.decode(&stream, received[..].as_mut().into())?;
/// assert_eq!(received, sent);
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapBooks {
    set: Arc<CodebookSet>,
    /// The number of the book of each layer.
    layers: Vec<u8>,
}

/// The name of the set that [`BitmapBooks::train`] makes.
const SET_NAME: &str = "bitmap layers";

impl BitmapBooks {
    /// Codebooks for values like these.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when there are no values.
    pub fn train<'a>(tensors: impl IntoIterator<Item = Values<'a>>) -> Result<Self> {
        let platform = Platform::detect();
        let mut planes = Layers::default();
        let mut layers: [Histogram; MAX_DEPTH + 1] = Default::default();
        let mut kept: [Histogram; MAX_DEPTH] = Default::default();
        for values in tensors {
            for start in (0..values.len()).step_by(MOST_VALUES) {
                let part = values.slice(start, start + MOST_VALUES);
                planes.take(platform, part, MAX_DEPTH);
                for layer in 0..MAX_DEPTH {
                    let counts = planes.counts(platform, layer);
                    let [of_kept, all] =
                        counts.map(|counts| Histogram::from_counts(counts.map(u64::from)));
                    kept[layer].merge(&of_kept);
                    layers[layer].merge(&all);
                }
                layers[MAX_DEPTH].add(planes.layer(MAX_DEPTH));
            }
        }
        if layers[0].total() == 0 {
            return Err(Error::option("no values to make codebooks from"));
        }
        let price = |counts: &Histogram| {
            let most = lanes_from(MOST_VALUES);
            coded_bytes(&counts.counts().map(|count| count as f64), 1.0, most)
        };
        // The same rule as for a stream. Where all was 0, nearly all of what comes will be 0.
        let pays = |layer: &usize| {
            let none = kept[*layer].total() == 0;
            none || price(&kept[*layer]) + price(&layers[layer + 1]) < price(&layers[*layer])
        };
        let depth = (0..MAX_DEPTH).take_while(pays).count();
        let planes = kept[..depth].iter().chain([&layers[depth]]);
        let books = planes.map(|counts| {
            let mut counts = counts.clone();
            if counts.counts().iter().filter(|count| **count > 0).count() < 2 {
                // Other bytes may come, and need codes of a sensible length.
                counts = Histogram::from_counts(counts.counts().map(|count| count + 1));
            }
            fitted(&counts)
        });
        Self::new(books.collect::<Result<_>>()?)
    }

    fn new(books: Vec<Lengths>) -> Result<Self> {
        let mut builder = SetBuilder::new(SET_NAME);
        let mut layers = Vec::new();
        for (layer, lengths) in books.into_iter().enumerate() {
            // Layers whose books are equal share one.
            let number = builder.add(lengths)?;
            layers.push(number);
            builder.bind(Binding {
                pattern: "*".to_owned(),
                dtype: None,
                layout: Layout::Bytes,
                plane: FIRST_LAYER + layer as u8,
                books: vec![number],
            })?;
        }
        Ok(Self { set: Arc::new(builder.build()), layers })
    }

    /// The codebooks of a set that has bindings for the layers of a bitmap.
    ///
    /// # Errors
    /// [`Error::InvalidCodebook`] when the set has none, or has books for other purposes, too.
    pub fn from_set(set: impl Into<Arc<CodebookSet>>) -> Result<Self> {
        let set = set.into();
        let book = |plane: u8| {
            let binding = set.bindings().iter().find(|binding| binding.plane == plane)?;
            binding.books.first().copied()
        };
        let layers: Vec<u8> = (FIRST_LAYER..=LAST_LAYER).map_while(book).collect();
        if layers.is_empty() || !is_of_layers(&set) {
            return Err(Error::codebook(
                "the set is not one of the layers of a bitmap alone: make a set of quantized values",
            ));
        }
        Ok(Self { set, layers })
    }

    /// The set: what sender and receiver must share.
    #[must_use]
    pub const fn set(&self) -> &Arc<CodebookSet> {
        &self.set
    }

    /// How often zeros are split off.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.layers.len() - 1
    }

    /// The number in the set of the book of each layer, from layer 0 to layer [`depth`](Self::depth).
    #[must_use]
    pub fn layers(&self) -> &[u8] {
        &self.layers
    }

    /// Bits of the planes of some values.
    fn bits_of(&self, values: Values<'_>) -> u64 {
        let mut planes = Layers::default();
        let mut bits = 0;
        for start in (0..values.len()).step_by(MOST_VALUES) {
            let part = values.slice(start, start + MOST_VALUES);
            planes.take(Platform::detect(), part, self.depth());
            for (layer, &number) in self.layers.iter().enumerate() {
                let counts = Histogram::of(planes.plane(layer, self.depth()));
                let several = counts.counts().iter().filter(|count| **count > 0).count() > 1;
                bits += match self.set.book(number) {
                    Ok(book) if several => {
                        let prices = counts.counts().iter().zip(book.prices());
                        let coded = prices.map(|(count, price)| count * u64::from(*price)).sum();
                        // A plane that would grow is stored as it is.
                        (8 * counts.total()).min(coded)
                    }
                    // A constant plane is stored as one byte. (Every layer has a book.)
                    _ => 8,
                };
            }
        }
        bits
    }
}

/// The book for a plane with these counts.
fn fitted(counts: &Histogram) -> Result<Lengths> {
    // A book in which all numbers of some bits have a code needs no escape.
    let used = counts.counts().iter().take_while(|count| **count > 0).count();
    let all = used > 1
        && used.is_power_of_two()
        && counts.counts().iter().skip(used).all(|count| *count == 0);
    let width = if all { used.ilog2() as u8 } else { 8 };
    let weights: Vec<f64> =
        counts.counts().iter().take(1 << width).map(|count| *count as f64).collect();
    let pmf = Pmf::from_weights(&weights).ok_or_else(|| Error::codebook("no counts"))?;
    let short = fit::plain(&pmf, width, CodeLimit::Bits8, Effort::Careful)?;
    if short.huffman_bits < short.bits * (1.0 - BITS12_GAIN) {
        let long = fit::plain(&pmf, width, CodeLimit::Bits12, Effort::Careful)?;
        if long.bits < short.bits * (1.0 - BITS12_GAIN) {
            return Ok(long.lengths);
        }
    }
    Ok(short.lengths)
}

/// Whether a set is one of bitmap layers: it has bindings, and all of them are for layers.
pub(in crate::gradient) fn is_of_layers(set: &CodebookSet) -> bool {
    let bindings = set.bindings();
    !bindings.is_empty() && bindings.iter().all(|binding| binding.plane >= FIRST_LAYER)
}

impl Refreshable for BitmapBooks {
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
        Ok(samples.iter().map(|sample| self.bits_of(sample.view())).sum())
    }

    fn refit(&self, samples: &[ValueBuf]) -> Result<Self> {
        // Only without values there is an error.
        Ok(Self::train(samples.iter().map(ValueBuf::view)).unwrap_or_else(|_| self.clone()))
    }

    fn shipping_bytes(&self) -> usize {
        self.set.to_bytes().len()
    }
}
