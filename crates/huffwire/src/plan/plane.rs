//! The plan of a plane: its header before the sizes are known.

use super::candidates::{MAX_CANDIDATES, Priced};
use super::{Candidates, price};
use crate::codebook::fit::{self, Effort};
use crate::codebook::{Alphabet, CodeLimit, Codebook, ESCAPE_RAW_BITS};
use crate::kernels::platform::Platform;
use crate::lanes::{self, LANES};
use crate::plane_codec::{
    BITS12_FROM, BookRef, CodedPlane, Coder, PlaneHeader, PlaneShape, SINGLE_BELOW, carried,
};
use crate::set::CodebookSet;
use crate::stats::{Counts, Pmf};

/// Plan of a plane, with its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How the plane is stored; sizes are upper bounds, if the counts were the whole plane's.
    pub(crate) header: PlaneHeader,
    /// Bytes of everything stored for this plane, as exact as the sizes.
    stored: usize,
    /// Bits of remainder that this plan makes unnecessary, because it codes zeros apart.
    saved_bits: u64,
}

impl Plan {
    pub(crate) const fn constant(symbol: u8) -> Self {
        Self { header: PlaneHeader::Constant(symbol), stored: 2, saved_bits: 0 }
    }

    pub(crate) const fn raw(shape: &PlaneShape) -> Self {
        let stored = 1 + PlaneHeader::Raw.payload_bytes(shape);
        Self { header: PlaneHeader::Raw, stored, saved_bits: 0 }
    }

    /// Bytes of everything stored for this plane, an upper bound (if the counts were the whole plane's).
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    /// Bits stored, less the bits saved in other planes. Plans for one plane are compared by this number.
    const fn net_bits(&self) -> i64 {
        8 * self.stored as i64 - self.saved_bits as i64
    }
}

/// Books whose price is looked at with neighbouring bases, too.
const FINALISTS: usize = 3;

/// A book with a base, and its price. Offers compare by their price, then by number and base: all are one number, so
/// that the best ones are found without a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offer(u64);

impl Offer {
    const NONE: Self = Self(u64::MAX);

    const fn new(bits: u64, number: u8, base: u8) -> Self {
        Self(bits << 16 | (number as u64) << 8 | base as u64)
    }

    /// Its number and its base.
    fn book(self) -> Option<(u8, u8)> {
        (self < Self::NONE).then_some(((self.0 >> 8) as u8, self.0 as u8))
    }
}

/// Preferences of an encoder where size alone does not decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taste {
    /// The share of a plane (of a block, for exponents) that 12-bit codes must save where 8-bit ones would do: their
    /// kernels are slower.
    pub(crate) bits12_gain: f64,
    /// Symbols from which on a coded plane is in lanes.
    pub(crate) single_below: usize,
    /// Bytes that an ideal code must save before a book is made.
    pub(crate) least_gain: usize,
    /// How hard to look for a book.
    pub(crate) effort: Effort,
}

impl Taste {
    /// For the planes of tensors.
    pub(crate) const TENSORS: Self = Self {
        bits12_gain: 0.004,
        single_below: SINGLE_BELOW,
        least_gain: 64,
        effort: Effort::Quick,
    };
}

/// Everything that the plan of a plane depends on, except the counts.
pub(crate) struct PlaneContext<'a> {
    pub(crate) platform: Platform,
    pub(crate) taste: Taste,
    pub(crate) shape: PlaneShape,
    /// Bits of remainder that an exact zero saves when it is coded apart.
    pub(crate) remainder_bits: u64,
    pub(crate) set: &'a CodebookSet,
    pub(crate) candidates: &'a Candidates,
    /// Whether a book may be made from the counts and embedded.
    pub(crate) embed: bool,
    /// Bytes of payload behind the plane, of which its lanes carry some; exact zeros included.
    pub(crate) behind: usize,
}

impl PlaneContext<'_> {
    /// The best way to store a plane with these counts. A book that is made for the plane is put into `embedded`.
    pub(crate) fn plan(&self, counts: &Counts, embedded: &mut Codebook) -> Plan {
        if let Some(symbol) = counts.constant() {
            return Plan::constant(symbol);
        }
        let raw = Plan::raw(&self.shape);
        let resident = self.best_resident(counts);
        let fitted = if self.embed { self.fit_book(counts, embedded) } else { None };
        [raw].into_iter().chain(resident).chain(fitted).min_by_key(Plan::net_bits).unwrap_or(raw)
    }

    fn best_resident(&self, counts: &Counts) -> Option<Plan> {
        let centre = match self.shape.alphabet {
            Alphabet::Centred => self.platform.run(
                #[inline(always)]
                || counts.centre(),
            ),
            Alphabet::Plain { .. } => 0,
        };
        let mut room = [0; MAX_CANDIDATES];
        let saved = self.candidates.saved(self.platform, counts, centre, &mut room);
        let (number, base) = self.platform.run(
            #[inline(always)]
            || match saved {
                Some(books) => {
                    let priced =
                        books.map(|(book, saved)| self.priced(book, saved, counts, centre));
                    self.cheapest(counts, priced)
                }
                None => self.cheapest(counts, self.price_alone(counts, centre)),
            },
        )?;
        let book = self.set.book(number).ok()?;
        Some(self.coded(book, BookRef::Resident(number), base, counts))
    }

    /// The price of a book of which it is known what it saves.
    #[inline(always)]
    fn priced(&self, book: Priced, saved: i32, counts: &Counts, centre: u8) -> Offer {
        let Priced { number, origin, zero, outside } = book;
        let base = centre.wrapping_sub(origin);
        let bits = price::price_of_saved(counts, outside, i64::from(saved));
        let zeros = u64::from(counts.zeros());
        let zeros_bits = match zero {
            0 if zeros > 0 => {
                self.set.book(number).map_or(0, |book| self.zeros(book, base, counts))
            }
            length => zeros * u64::from(length),
        };
        Offer::new(bits + zeros_bits, number, base)
    }

    /// The price of each book that fits, one by one.
    #[inline(always)]
    fn price_alone(&self, counts: &Counts, centre: u8) -> impl Iterator<Item = Offer> {
        let alphabet = self.shape.alphabet;
        self.candidates.numbers().iter().filter_map(move |&number| {
            let book = self.set.book(number).ok()?;
            let of_book = book.lengths().alphabet();
            let fits = of_book == alphabet
                || self.shape.takes(of_book) && counts.are_below(of_book.slots());
            let base = match alphabet {
                Alphabet::Centred => centre.wrapping_sub(book.origin()),
                Alphabet::Plain { .. } => 0,
            };
            fits.then(|| Offer::new(self.price(book, base, counts), number, base))
        })
    }

    /// The resident book that costs least, and with which base.
    ///
    /// The mean exponent is a good centre for all books. Its two neighbours are sometimes better. They are tried
    /// only for the [`FINALISTS`], the books that cost least at the mean: that takes a third of the time that it takes
    /// for all books, and costs at most 0.02 points on the tensors measured.
    #[inline(always)]
    fn cheapest(&self, counts: &Counts, offers: impl Iterator<Item = Offer>) -> Option<(u8, u8)> {
        let [mut first, mut second, mut third] = [Offer::NONE; FINALISTS];
        for offer in offers {
            // Without a branch, and not in memory.
            third = third.min(offer.max(second));
            second = second.min(offer.max(first));
            first = first.min(offer);
        }
        let mut winner = first;
        if self.shape.alphabet == Alphabet::Centred {
            for finalist in [first, second, third] {
                let Some((number, base)) = finalist.book() else { continue };
                let Ok(book) = self.set.book(number) else { continue };
                for base in [base.wrapping_sub(1), base.wrapping_add(1)] {
                    winner = winner.min(Offer::new(self.price(book, base, counts), number, base));
                }
            }
        }
        winner.book()
    }

    /// Bits that a book spends on the counts; remainder of zeros that it cannot set apart included.
    #[inline(always)]
    fn price(&self, book: &Codebook, base: u8, counts: &Counts) -> u64 {
        price::price(counts, book, base) + self.zeros(book, base, counts)
    }

    /// Bits that a book spends on exact zeros.
    #[inline(always)]
    fn zeros(&self, book: &Codebook, base: u8, counts: &Counts) -> u64 {
        let zero = match book.lengths().zero() {
            0 => {
                u64::from(book.prices()[usize::from(0u8.wrapping_sub(base))]) + self.remainder_bits
            }
            length => u64::from(length),
        };
        u64::from(counts.zeros()) * zero
    }

    /// The plan of coding with a book: in lanes, or as a single stream if that is smaller and the plane has few
    /// symbols.
    fn coded(&self, book: &Codebook, book_ref: BookRef, base: u8, counts: &Counts) -> Plan {
        let lengths = book.lengths();
        let apart = lengths.zero() > 0;
        let zeros = u64::from(counts.zeros());
        let mut escapes = self.platform.run(
            #[inline(always)]
            || price::escaped(counts, book, base),
        );
        if !apart && zeros > 0 && price::escapes(lengths, base, 0) {
            escapes += zeros;
        }
        let remainder_of_zeros = zeros * self.remainder_bits;
        let unsaved = if apart { 0 } else { remainder_of_zeros };
        let code_bits = self.price(book, base, counts) - unsaved - escapes * ESCAPE_RAW_BITS;
        let saved_bits = remainder_of_zeros - unsaved;
        let behind = self.behind.saturating_sub((saved_bits / 8) as usize);
        let plan = |coder| {
            let (stream_bytes, carried) = match coder {
                // What lanes end with they keep, and so round down.
                Coder::Lanes => (code_bits / 8, carried(behind)),
                Coder::Single => (code_bits.div_ceil(8), 0),
            };
            let coded = CodedPlane {
                book: book_ref,
                limit: book.limit(),
                coder,
                base,
                zeros: if apart { zeros as usize } else { 0 },
                stream_bytes: stream_bytes as usize,
                escapes: escapes as usize,
            };
            let header = PlaneHeader::Coded(coded);
            let header_bytes = header.header_bytes(Some(book)).unwrap_or(0);
            Plan { header, stored: header_bytes + coded.payload_bytes() - carried, saved_bits }
        };
        let in_lanes = plan(Coder::Lanes);
        // The numbers in its header are known only where everything was counted.
        let single = self.shape.count < self.taste.single_below && counts.factor() == 1;
        let single = single.then(|| plan(Coder::Single));
        single.filter(|single| single.stored < in_lanes.stored).unwrap_or(in_lanes)
    }

    /// Makes the best book for the counts and prices it, its own bytes included.
    fn fit_book(&self, counts: &Counts, embedded: &mut Codebook) -> Option<Plan> {
        let total = counts.total();
        let mut weights = [0.0; 257];
        for (weight, &count) in weights.iter_mut().zip(counts.by_symbol()) {
            *weight = f64::from(count);
        }
        weights[256] = f64::from(counts.zeros());
        // A book in which all numbers of some bits have a code needs no escape, which would take code space of the
        // rarest: half a bit a symbol where there are two.
        let alphabet = match counts.all_of_bits().filter(|_| self.shape.any_plain) {
            Some(width) => Alphabet::Plain { width },
            None => self.shape.alphabet,
        };
        let pmf = match alphabet {
            Alphabet::Centred => Pmf::from_weights(&weights)?,
            Alphabet::Plain { width } => {
                let pmf = Pmf::from_weights(&weights[..1 << width])?;
                // Not worth making when even Shannon would not pay for states and lengths.
                let gain = (f64::from(self.shape.width) - pmf.entropy()) * total as f64 / 8.0;
                let states = if self.shape.count < self.taste.single_below {
                    0
                } else {
                    lanes::states_bytes(CodeLimit::Bits8) - carried(self.behind)
                };
                if gain < (states + self.taste.least_gain) as f64 {
                    return None;
                }
                pmf
            }
        };
        let build = |limit| match alphabet {
            Alphabet::Centred => fit::centred(&pmf, limit, self.taste.effort).ok(),
            Alphabet::Plain { width } => fit::plain(&pmf, width, limit, self.taste.effort).ok(),
        };
        let mut fitted = build(CodeLimit::Bits8)?;
        let lost = fitted.bits - fitted.huffman_bits;
        if self.shape.count >= BITS12_FROM
            && lost > self.taste.bits12_gain * (fitted.bits + self.remainder_bits as f64)
            && let Some(long) = build(CodeLimit::Bits12)
            // The states of 12-bit codes are longer, too.
            && (fitted.bits - long.bits) * total as f64 / 8.0 > LANES as f64
        {
            fitted = long;
        }
        embedded.rebuild(fitted.lengths);
        let mut plan = self.coded(embedded, BookRef::Embedded, fitted.base, counts);
        plan.stored += price::overfit_bits(counts, fitted.lengths.codes()) as usize / 8;
        Some(plan)
    }
}
