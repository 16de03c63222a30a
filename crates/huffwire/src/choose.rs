//! Choosing how to code a plane: which book, which base, or no book at all.
//!
//! A book's price on a plane is exact: the sum of the lengths it gives to what the histogram
//! counted, escapes with their raw bits. No code is written before its price is known, so a block
//! never grows beyond its raw form and a small header.

use crate::bytes;
use crate::codebook::build::{self, Effort};
use crate::codebook::{
    Alphabet, CodeLimit, Codebook, CodebookSet, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths,
};
use crate::lanes;
use crate::planes::Plane;
use crate::planes::pack::packed_bytes;
use crate::platform::Platform;
use crate::pmf::Pmf;

/// How much work goes into the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Level {
    /// Code the symbol planes with resident books; residue stays raw. A book is made from the data
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
    /// The cheapest of all books that fit the plane, priced on a sample: one unit in 16, but at least
    /// 1024 and at most 4096, in runs of 64 spread evenly over the block. [`Level::Max`], which pays for every
    /// byte saved, looks at the whole block instead.
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

/// Units in a run of a sample.
const RUN: usize = 64;

/// How many runs of a block of so many units are looked at.
const fn sample_runs(units: usize) -> usize {
    let sample = units / 16;
    let sample = if sample < 1024 { 1024 } else { sample };
    if sample > 4096 { 4096 / RUN } else { sample / RUN }
}

/// Draws the sample of a block: runs of 64 units, spread evenly. `None` when that were the block, or nearly.
pub(crate) fn draw_sample<'a>(
    bytes: &[u8],
    unit_bytes: usize,
    sample: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    let runs = bytes.len() / unit_bytes / RUN;
    let wanted = sample_runs(bytes.len() / unit_bytes);
    if runs < 2 * wanted {
        return None;
    }
    let run_bytes = RUN * unit_bytes;
    sample.clear();
    for index in 0..wanted {
        // In the middle of the stretch that it stands for.
        let start = (2 * index + 1) * runs / (2 * wanted) * run_bytes;
        sample.extend_from_slice(&bytes[start..start + run_bytes]);
    }
    Some(sample)
}

/// What was counted in a plane.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Occurrences per symbol; elements that are exact zeros are left out of an exponent plane.
    by_symbol: [u32; 256],
    /// The symbols that occur, ascending: tens of books are priced on them.
    present: [u8; 256],
    distinct: usize,
    total: u64,
    /// The counts once more, going round: whatever the base, its slots lie side by side.
    around: [u32; 256 + 64],
    /// Exact zeros in an exponent plane.
    zeros: u32,
}

impl Counts {
    /// Counts symbols. `nonzero` is 0 where the whole element is an exact zero; empty when there is
    /// none.
    pub(crate) fn of(platform: Platform, symbols: &[u8], nonzero: &[u8]) -> Self {
        let zeros = platform.run(|| nonzero.iter().map(|&n| u32::from(n == 0)).sum());
        Self::new(bytes::histogram(platform, symbols), zeros)
    }

    /// From counts that still include the zeros.
    fn new(mut by_symbol: [u32; 256], zeros: u32) -> Self {
        by_symbol[0] -= zeros;
        let (mut present, mut distinct) = ([0; 256], 0);
        for (symbol, &count) in (0..=u8::MAX).zip(&by_symbol) {
            if count > 0 {
                present[distinct] = symbol;
                distinct += 1;
            }
        }
        let total = by_symbol.iter().map(|&count| u64::from(count)).sum::<u64>() + u64::from(zeros);
        let around = std::array::from_fn(|i| by_symbol[i % 256]);
        Self { by_symbol, present, distinct, total, around, zeros }
    }

    /// The same for a block of which this was a sample: `factor` times as much of everything.
    pub(crate) fn times(mut self, factor: u32) -> Self {
        let counts = self.by_symbol.iter_mut().chain(&mut self.around).chain([&mut self.zeros]);
        counts.for_each(|count| *count *= factor);
        self.total *= u64::from(factor);
        self
    }

    /// Bits that a centred book spends on all but the exact zeros. The same sum as over the symbols that
    /// occur, but a loop without a lookup: tens of books and bases are priced for every block.
    #[inline(always)]
    fn price_around(&self, base: u8, prices: &[u8; 256]) -> u64 {
        let (mut inside, mut coded) = (0, 0);
        let slots = &self.around[usize::from(base)..][..64];
        for (&count, &price) in slots.iter().zip(prices) {
            inside += count;
            coded += count * u32::from(price);
        }
        let outside = self.total - u64::from(self.zeros) - u64::from(inside);
        // All slots from 62 on cost what the escape does.
        u64::from(coded) + outside * u64::from(prices[255])
    }

    /// Adds the counts to a histogram of 257 entries, the last of them for exact zeros.
    pub(crate) fn add_to(&self, histogram: &mut [u64]) {
        let counts = self.by_symbol.iter().chain([&self.zeros]);
        for (total, &count) in histogram.iter_mut().zip(counts) {
            *total += u64::from(count);
        }
    }

    fn present(&self) -> impl Iterator<Item = (u8, u64)> {
        let symbols = self.present[..self.distinct].iter();
        symbols.map(|&symbol| (symbol, u64::from(self.by_symbol[usize::from(symbol)])))
    }

    /// The one symbol that everything is, if so.
    fn constant(&self) -> Option<u8> {
        let zero = (self.zeros > 0).then_some(0);
        let mut distinct = self.present().map(|(symbol, _)| symbol).filter(|s| Some(*s) != zero);
        match (zero, distinct.next(), distinct.next()) {
            (Some(only), None, _) | (None, Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Mean of the symbols that are not exact zeros, rounded: the block's centre.
    fn centre(&self) -> u8 {
        let (mut mass, mut moment) = (0, 0);
        for (symbol, count) in self.present() {
            mass += count;
            moment += count * u64::from(symbol);
        }
        (2 * moment + mass).checked_div(2 * mass).unwrap_or(0) as u8
    }
}

/// Where the codebook of a coded plane comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
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
    pub(crate) source: Source,
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
    /// Bits of residue that this plan makes unnecessary, because it codes zeros apart.
    saved_bits: u64,
}

impl Plan {
    pub(crate) const fn constant(symbol: u8) -> Self {
        Self { coding: Coding::Constant(symbol), stored: 2, saved_bits: 0 }
    }

    pub(crate) const fn raw(symbols: usize, width: u8) -> Self {
        Self { coding: Coding::Raw, stored: 1 + packed_bytes(symbols, width), saved_bits: 0 }
    }

    /// Bytes of everything stored for this plane, an upper bound (if the counts were the whole plane's).
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    /// What plans for one plane are compared by: bits stored, less those saved in other planes.
    const fn merit(&self) -> i64 {
        8 * self.stored as i64 - self.saved_bits as i64
    }
}

/// What a plan depends on beside the counts.
pub(crate) struct Wish<'a> {
    pub(crate) platform: Platform,
    pub(crate) plane: &'a Plane,
    /// Symbols in the plane.
    pub(crate) symbols: usize,
    /// Bits of residue that an exact zero saves when it is coded apart.
    pub(crate) residue_bits: u64,
    pub(crate) set: &'a CodebookSet,
    pub(crate) candidates: &'a [u8],
    /// Whether a book may be made from the counts and embedded.
    pub(crate) embed: bool,
    /// Bytes of other planes that the lanes of this one carry, if it is coded.
    pub(crate) lent: usize,
}

impl Wish<'_> {
    /// The best way to store a plane with these counts. A book made for the occasion lands in
    /// `embedded`.
    pub(crate) fn plan(&self, counts: &Counts, embedded: &mut Codebook) -> Plan {
        if let Some(symbol) = counts.constant() {
            return Plan::constant(symbol);
        }
        let raw = Plan::raw(self.symbols, self.plane.width);
        let resident = self.best_resident(counts);
        let made = if self.embed { self.make_book(counts, embedded) } else { None };
        [raw].into_iter().chain(resident).chain(made).min_by_key(Plan::merit).unwrap_or(raw)
    }

    fn best_resident(&self, counts: &Counts) -> Option<Plan> {
        let alphabet = self.plane.alphabet();
        let centre = counts.centre();
        let mut best: Option<(u64, u8, u8)> = None;
        for &number in self.candidates {
            let Ok(book) = self.set.book(number) else {
                continue;
            };
            if book.lengths().alphabet() != alphabet {
                continue;
            }
            // The mean is a good centre, its neighbours are sometimes better ones: where exactly
            // the shape of the distribution falls between two powers of two decides.
            let shifts = if alphabet == Alphabet::Centred { -1..=1 } else { 0..=0 };
            for shift in shifts {
                let base = match alphabet {
                    Alphabet::Centred => {
                        centre.wrapping_sub(book.lengths().origin()).wrapping_add_signed(shift)
                    }
                    Alphabet::Plain { .. } => 0,
                };
                let price = self.price(book, base, counts);
                if best.is_none_or(|(lowest, ..)| price < lowest) {
                    best = Some((price, number, base));
                }
            }
        }
        let (_, number, base) = best?;
        let book = self.set.book(number).ok()?;
        Some(self.coded(book, Source::Resident(number), base, counts, 0))
    }

    /// Bits that a book spends on the counts; residue of zeros that it cannot set apart included.
    fn price(&self, book: &Codebook, base: u8, counts: &Counts) -> u64 {
        let prices = book.prices();
        let coded = match book.lengths().alphabet() {
            Alphabet::Centred => self.platform.run(|| counts.price_around(base, prices)),
            Alphabet::Plain { .. } => {
                let one = |symbol: u8| u64::from(prices[usize::from(symbol)]);
                counts.present().map(|(symbol, count)| count * one(symbol)).sum()
            }
        };
        let zero = match book.lengths().zero() {
            0 => u64::from(prices[usize::from(0u8.wrapping_sub(base))]) + self.residue_bits,
            length => u64::from(length),
        };
        coded + u64::from(counts.zeros) * zero
    }

    /// The plan of coding with a book.
    fn coded(
        &self,
        book: &Codebook,
        source: Source,
        base: u8,
        counts: &Counts,
        book_bytes: usize,
    ) -> Plan {
        let lengths = book.lengths();
        let apart = lengths.zero() > 0;
        let escapes = |symbol: u8| match lengths.alphabet() {
            Alphabet::Centred => {
                let slot = symbol.wrapping_sub(base);
                usize::from(slot) >= ESCAPE_SLOT || lengths.direct(slot) == 0
            }
            Alphabet::Plain { .. } => lengths.direct(symbol) == 0,
        };
        let mut escaped: u64 = counts.present().filter(|(s, _)| escapes(*s)).map(|(_, c)| c).sum();
        if !apart && counts.zeros > 0 && escapes(0) {
            escaped += u64::from(counts.zeros);
        }
        let zeros = u64::from(counts.zeros);
        let unsaved = if apart { 0 } else { zeros * self.residue_bits };
        let code_bits = self.price(book, base, counts) - unsaved - escaped * ESCAPE_RAW_BITS;
        let saved_bits = if apart { zeros * self.residue_bits } else { 0 };
        let header = coded_header_bytes(lengths, book_bytes);
        let states = lanes::states_bytes(book.limit()) - self.lent;
        let stored = header + states + (code_bits / 8 + escaped) as usize;
        let coding = Coding::Coded(Coded { source, base, code_bits, escapes: escaped });
        Plan { coding, stored, saved_bits }
    }

    /// Makes the best book for the counts and prices it, its own bytes included.
    fn make_book(&self, counts: &Counts, embedded: &mut Codebook) -> Option<Plan> {
        let alphabet = self.plane.alphabet();
        let total = counts.total;
        // 16-bit states are worth more than long codes when there are few symbols.
        let limit = if total < 8192 { CodeLimit::Short } else { CodeLimit::Long };
        let mut weights: Vec<f64> = counts.by_symbol.iter().map(|&c| f64::from(c)).collect();
        let built = match alphabet {
            Alphabet::Centred => {
                weights.push(f64::from(counts.zeros));
                build::centred(&Pmf::from_weights(&weights)?, limit, Effort::Quick).ok()?
            }
            Alphabet::Plain { width } => {
                weights.truncate(1 << width);
                let pmf = Pmf::from_weights(&weights)?;
                let gain = (f64::from(width) - pmf.entropy()) * total as f64 / 8.0;
                // Not worth building when even Shannon would not pay for states and lengths.
                if gain < (lanes::states_bytes(limit) + 64) as f64 {
                    return None;
                }
                build::plain(&pmf, width, limit, Effort::Quick).ok()?
            }
        };
        embedded.rebuild(built.lengths);
        let mut bytes = [0; crate::codebook::MAX_LENGTHS_BYTES];
        let book_bytes = built.lengths.write_to(&mut bytes);
        Some(self.coded(embedded, Source::Embedded, built.base, counts, book_bytes))
    }
}

/// Bytes of a coded plane's header: mode, embedded book, base, zeros, stream length, escapes.
pub(crate) fn coded_header_bytes(lengths: &Lengths, book_bytes: usize) -> usize {
    let base = usize::from(lengths.alphabet() == Alphabet::Centred);
    let zeros = if lengths.zero() > 0 { 4 } else { 0 };
    let escapes = if lengths.escape() > 0 { 4 } else { 0 };
    1 + book_bytes + base + zeros + 4 + escapes
}
