//! Choosing how to code a plane: which book, which base, or no book at all.
//!
//! A book's price on a plane is exact: the sum of the lengths it gives to what the histogram
//! counted, escapes with their raw bits. No code is written before its price is known, so a block
//! never grows beyond its raw form and a small header.

mod price;

use crate::codebook::fit::{self, Effort};
use crate::codebook::{Alphabet, CodeLimit, Codebook, ESCAPE_RAW_BITS, Lengths};
use crate::kernels::platform::Platform;
use crate::lanes::{self, LANES};
use crate::planes::Plane;
use crate::planes::pack::packed_bytes;
use crate::set::CodebookSet;
use crate::stats::{Counts, Pmf};

/// How much work goes into the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// Code the symbol planes with resident books; remainder stays raw. A book is made from the data
    /// and embedded only where the set has none for the plane.
    #[default]
    Fast,
    /// Code every plane that gains from it, with a book made from the block itself and embedded in
    /// it wherever that is smaller than the best resident one.
    Max,
}

/// Which resident books are considered for a block, and on what evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Choice {
    /// The cheapest of all books that fit the plane, priced on a sample: one unit in 64, but at least
    /// 1024, in runs of 64 spread evenly over the block. [`Level::Max`] looks at one in 8, 4096 to 8192, and
    /// makes books for exponents from that; other planes that look as if they could be coded it counts on a
    /// quarter.
    #[default]
    Sample,
    /// The same, priced on the whole block.
    Cheapest,
    /// Only the books of the first binding that matches the tensor's name: one book per tensor kind, as
    /// in paper A. The cheapest where several are bound, by a sample.
    Named,
    /// This book of the set, for every plane of its alphabet; other planes stay raw at
    /// [`Level::Fast`].
    Fixed(u8),
}

/// Where the codebook of a coded plane comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BookRef {
    Resident(u8),
    Embedded,
}

/// How a plane is going to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Raw,
    Constant(u8),
    Coded(Coded),
}

/// Coding with a book, and what the counts say will come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coded {
    pub(crate) book_ref: BookRef,
    /// The exponent of slot 0 of a centred book.
    pub(crate) base: u8,
    /// Bits of the code words; an upper bound on the stream.
    pub(crate) code_bits: u64,
    /// Symbols that take the escape.
    pub(crate) escapes: u64,
}

/// A decision about a plane, with its consequences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) coding: Coding,
    /// Bytes of everything stored for this plane, an upper bound (if the counts were the whole plane's).
    stored: usize,
    /// Bits of remainder that this plan makes unnecessary, because it codes zeros apart.
    saved_bits: u64,
}

impl Plan {
    pub(crate) const fn constant(symbol: u8) -> Self {
        Self { coding: Coding::Constant(symbol), stored: 2, saved_bits: 0 }
    }

    pub(crate) const fn raw(symbols: usize, width: u8) -> Self {
        Self { coding: Coding::Raw, stored: 1 + packed_bytes(symbols, width), saved_bits: 0 }
    }

    pub(crate) const fn is_coded(&self) -> bool {
        matches!(self.coding, Coding::Coded(_))
    }

    /// Whether it needs the book that was made for it.
    pub(crate) const fn embeds(&self) -> bool {
        matches!(self.coding, Coding::Coded(Coded { book_ref: BookRef::Embedded, .. }))
    }

    /// Bytes of everything stored for this plane, an upper bound (if the counts were the whole plane's).
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    /// What plans for one plane are compared by: bits stored, less those saved in other planes.
    const fn net_bits(&self) -> i64 {
        8 * self.stored as i64 - self.saved_bits as i64
    }
}

/// The share of a block that long codes must save where short ones would do: their kernels are slower.
const LONG_GAIN: f64 = 0.004;

/// Books whose price is looked at with neighbouring bases, too.
const FINALISTS: usize = 3;

/// What a plan depends on beside the counts.
pub(crate) struct PlaneContext<'a> {
    pub(crate) platform: Platform,
    pub(crate) plane: &'a Plane,
    /// Symbols in the plane.
    pub(crate) symbols: usize,
    /// Bits of remainder that an exact zero saves when it is coded apart.
    pub(crate) remainder_bits: u64,
    pub(crate) set: &'a CodebookSet,
    pub(crate) candidates: &'a [u8],
    /// Whether a book may be made from the counts and embedded.
    pub(crate) embed: bool,
    /// Bytes of other planes that the lanes of this one carry, if it is coded.
    pub(crate) lent: usize,
}

impl PlaneContext<'_> {
    /// The best way to store a plane with these counts. A book made for the occasion lands in
    /// `embedded`.
    pub(crate) fn plan(&self, counts: &Counts, embedded: &mut Codebook) -> Plan {
        if let Some(symbol) = counts.constant() {
            return Plan::constant(symbol);
        }
        let raw = Plan::raw(self.symbols, self.plane.width);
        let resident = self.best_resident(counts);
        let made = if self.embed { self.fit_book(counts, embedded) } else { None };
        [raw].into_iter().chain(resident).chain(made).min_by_key(Plan::net_bits).unwrap_or(raw)
    }

    fn best_resident(&self, counts: &Counts) -> Option<Plan> {
        let (number, base) = self.platform.run(
            #[inline(always)]
            || self.cheapest(counts),
        )?;
        let book = self.set.book(number).ok()?;
        Some(self.coded(book, BookRef::Resident(number), base, counts, 0))
    }

    /// The resident book that costs least, and with which base.
    ///
    /// The mean is a good centre, its neighbours are sometimes better ones: where exactly the shape of the
    /// distribution falls between two powers of two decides. They are tried with the books that fit
    /// best where the mean is: a third of the time, for 0.02 points on the worst of the tensors measured.
    #[inline(always)]
    fn cheapest(&self, counts: &Counts) -> Option<(u8, u8)> {
        let alphabet = self.plane.alphabet();
        let centre = counts.centre();
        // Price, number and base as one number: the best ones are found without a branch.
        let packed = |price: u64, number: u8, base: u8| {
            price << 16 | u64::from(number) << 8 | u64::from(base)
        };
        let unpacked = |packed: u64| ((packed >> 8) as u8, packed as u8);
        let [mut first, mut second, mut third] = [u64::MAX; FINALISTS];
        for &number in self.candidates {
            let Ok(book) = self.set.book(number) else {
                continue;
            };
            if book.lengths().alphabet() != alphabet {
                continue;
            }
            let base: u8 = match alphabet {
                Alphabet::Centred => centre.wrapping_sub(book.origin()),
                Alphabet::Plain { .. } => 0,
            };
            let candidate = packed(self.price(book, base, counts), number, base);
            // Without a branch, and not in memory.
            third = third.min(candidate.max(second));
            second = second.min(candidate.max(first));
            first = first.min(candidate);
        }
        let best = [first, second, third];
        let mut winner = first;
        if alphabet == Alphabet::Centred {
            for finalist in best.into_iter().filter(|packed| *packed < u64::MAX) {
                let (number, base) = unpacked(finalist);
                let Ok(book) = self.set.book(number) else {
                    continue;
                };
                for base in [base.wrapping_sub(1), base.wrapping_add(1)] {
                    winner = winner.min(packed(self.price(book, base, counts), number, base));
                }
            }
        }
        (winner < u64::MAX).then(|| unpacked(winner))
    }

    /// Bits that a book spends on the counts; remainder of zeros that it cannot set apart included.
    #[inline(always)]
    fn price(&self, book: &Codebook, base: u8, counts: &Counts) -> u64 {
        let zeros = u64::from(counts.zeros());
        let zero = match book.lengths().zero() {
            0 => {
                u64::from(book.prices()[usize::from(0u8.wrapping_sub(base))]) + self.remainder_bits
            }
            length => u64::from(length),
        };
        price::price(counts, book, base) + zeros * zero
    }

    /// The plan of coding with a book.
    fn coded(
        &self,
        book: &Codebook,
        book_ref: BookRef,
        base: u8,
        counts: &Counts,
        book_bytes: usize,
    ) -> Plan {
        let lengths = book.lengths();
        let apart = lengths.zero() > 0;
        let zeros = u64::from(counts.zeros());
        let mut escaped = price::escaped(counts, book, base);
        if !apart && zeros > 0 && price::escapes(lengths, base, 0) {
            escaped += zeros;
        }
        let unsaved = if apart { 0 } else { zeros * self.remainder_bits };
        let code_bits = self.price(book, base, counts) - unsaved - escaped * ESCAPE_RAW_BITS;
        let saved_bits = if apart { zeros * self.remainder_bits } else { 0 };
        let header = coded_header_bytes(lengths, book_bytes);
        let states = lanes::states_bytes(book.limit()) - self.lent;
        let stored = header + states + (code_bits / 8 + escaped) as usize;
        let coding = Coding::Coded(Coded { book_ref, base, code_bits, escapes: escaped });
        Plan { coding, stored, saved_bits }
    }

    /// Makes the best book for the counts and prices it, its own bytes included.
    fn fit_book(&self, counts: &Counts, embedded: &mut Codebook) -> Option<Plan> {
        let total = counts.total();
        let mut weights = [0.0; 257];
        for (weight, &count) in weights.iter_mut().zip(counts.by_symbol()) {
            *weight = f64::from(count);
        }
        weights[256] = f64::from(counts.zeros());
        let alphabet = self.plane.alphabet();
        let pmf = match alphabet {
            Alphabet::Centred => Pmf::from_weights(&weights)?,
            Alphabet::Plain { width } => {
                let pmf = Pmf::from_weights(&weights[..1 << width])?;
                // Not worth building when even Shannon would not pay for states and lengths.
                let gain = (f64::from(width) - pmf.entropy()) * total as f64 / 8.0;
                if gain < (lanes::states_bytes(CodeLimit::Bits8) - self.lent + 64) as f64 {
                    return None;
                }
                pmf
            }
        };
        let build = |limit| match alphabet {
            Alphabet::Centred => fit::centred(&pmf, limit, Effort::Quick).ok(),
            Alphabet::Plain { width } => fit::plain(&pmf, width, limit, Effort::Quick).ok(),
        };
        let mut fitted = build(CodeLimit::Bits8)?;
        let lost = fitted.bits - fitted.huffman_bits;
        if lost > LONG_GAIN * (fitted.bits + self.remainder_bits as f64)
            && let Some(long) = build(CodeLimit::Bits12)
            // The states of long codes are longer, too.
            && (fitted.bits - long.bits) * total as f64 / 8.0 > LANES as f64
        {
            fitted = long;
        }
        embedded.rebuild(fitted.lengths);
        let mut bytes = [0; crate::codebook::MAX_LENGTHS_BYTES];
        let book_bytes = fitted.lengths.write_to(&mut bytes);
        let mut plan = self.coded(embedded, BookRef::Embedded, fitted.base, counts, book_bytes);
        plan.stored += price::overfit_bits(counts, fitted.lengths.codes()) as usize / 8;
        Some(plan)
    }
}

/// Bytes of a coded plane's header: mode, embedded book, base, zeros, stream length, escapes.
pub(crate) fn coded_header_bytes(lengths: &Lengths, book_bytes: usize) -> usize {
    let base = usize::from(lengths.alphabet() == Alphabet::Centred);
    let zeros = if lengths.zero() > 0 { 4 } else { 0 };
    let escapes = if lengths.escape() > 0 { 4 } else { 0 };
    1 + book_bytes + base + zeros + 4 + escapes
}
