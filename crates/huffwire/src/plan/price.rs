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
    let bits = i64::from(counts.nonzero()) * i64::from(outside) - saved;
    bits.unsigned_abs() * u64::from(counts.factor())
}

/// How many symbols take the escape, exact zeros left out.
pub(super) fn escaped(counts: &Counts, book: &Codebook, base: u8) -> u64 {
    let lengths = book.lengths();
    let (base, in_slots) = match lengths.alphabet() {
        Alphabet::Centred => (base, counts.window(base)),
        Alphabet::Plain { .. } => (0, &counts.by_symbol()[..lengths.alphabet().slots()]),
    };
    let in_slots = in_slots.iter().zip(0u8..=u8::MAX);
    let coded = in_slots.filter(|(_, slot)| !escapes(lengths, base, base.wrapping_add(*slot)));
    let coded: u32 = coded.map(|(count, _)| count).sum();
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
