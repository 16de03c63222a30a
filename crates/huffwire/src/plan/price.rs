//! Prices: the bits that a book takes for the counts of a plane, exactly.

use crate::codebook::{Alphabet, Codebook, ESCAPE_SLOT, Lengths};
use crate::stats::Counts;

/// Bits that a book spends on all but the exact zeros, escaped symbols included.
///
/// The price is that of escapes for all symbols, less what symbols with slots of their own save: one sum over the
/// slots of the book, without a lookup.
#[inline(always)]
pub(super) fn price(counts: &Counts, book: &Codebook, base: u8) -> u64 {
    let (outside, savings) = book.savings();
    // The slots beyond an alphabet save nothing that was counted.
    let saved = match book.lengths().alphabet() {
        Alphabet::Centred => counts.saved::<64>(usize::from(base), savings),
        Alphabet::Plain { .. } => counts.saved::<256>(0, savings),
    };
    price_of_saved(counts, outside, saved)
}

/// The price of a book of which it is known what a symbol outside of its window takes, and what its slots save.
#[inline(always)]
pub(super) fn price_of_saved(counts: &Counts, outside: i16, saved: i64) -> u64 {
    let bits = i64::from(counts.nonzero()) * i64::from(outside) - saved;
    bits.unsigned_abs() * u64::from(counts.factor())
}

/// How many symbols take the escape, exact zeros left out.
#[inline(always)]
pub(super) fn escaped(counts: &Counts, book: &Codebook, base: u8) -> u64 {
    let lengths = book.lengths().ordinary_lengths();
    let in_slots = match book.lengths().alphabet() {
        Alphabet::Centred => counts.window(base),
        Alphabet::Plain { .. } => counts.by_symbol(),
    };
    // Without a branch: that makes a vector loop.
    let coded =
        in_slots.iter().zip(lengths).map(|(&count, &length)| if length > 0 { count } else { 0 });
    let coded: u32 = coded.sum();
    u64::from(counts.nonzero() - coded) * u64::from(counts.factor())
}

/// Whether an ordinary symbol takes the escape.
pub(super) fn escapes(lengths: &Lengths, base: u8, symbol: u8) -> bool {
    match lengths.alphabet() {
        Alphabet::Centred => {
            let slot = symbol.wrapping_sub(base);
            usize::from(slot) >= ESCAPE_SLOT || lengths.direct(slot) == 0
        }
        Alphabet::Plain { .. } => lengths.direct(symbol) == 0,
    }
}

/// Bits by which a book of so many codes looks better than it is, if it was fitted to these counts and they
/// are a sample: its lengths follow the accidents of the sample, to the sample's advantage and to the
/// disadvantage of all else, by `1 / (2 ln 2)` bits for each free parameter, twice.
pub(super) fn overfit_bits(counts: &Counts, codes: usize) -> u64 {
    let free = codes.saturating_sub(1) as f64;
    (f64::from(counts.factor() - 1) * free / std::f64::consts::LN_2) as u64
}
