//! What codes cost in a plane of a shard.

use huffwire::planes::{Plane, Role};
use huffwire::stats::Pmf;
use huffwire::{Codebook, Layout};

use crate::average::ZERO;
use crate::options::Form;

/// Prices in a plane. They are bits a symbol, those of the remainder included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pricer<'a> {
    pub(crate) plane: &'a Plane,
    /// Bits of the remainder for each symbol, which exact zeros do not have where they have a code.
    pub(crate) remainder: f64,
}

impl Pricer<'_> {
    /// Bits that no code saves: the remainder of all that is no exact zero.
    pub(crate) fn kept(&self, pmf: &Pmf) -> f64 {
        let zeros = pmf.probabilities().get(ZERO).copied().unwrap_or(0.0);
        self.remainder * (1.0 - zeros)
    }

    /// Bits without a code, or where all symbols are the same, which are stored as one.
    pub(crate) fn limit(&self, counts: &[u64], pmf: &Pmf) -> f64 {
        let is_constant = counts.iter().filter(|count| **count > 0).count() == 1;
        if is_constant { self.kept(pmf) } else { f64::from(self.plane.width) + self.remainder }
    }

    /// Bits with the cheapest of some books; `None` if there are none. So many of them, the best at the mean, are looked
    /// at with several bases.
    pub(crate) fn cheapest(
        &self,
        books: &[&Codebook],
        pmf: &Pmf,
        mean: u8,
        finalists: usize,
    ) -> Option<f64> {
        let at_mean = |book: &Codebook| self.price(book, pmf, self.base(book, mean));
        let mut prices: Vec<(f64, &Codebook)> =
            books.iter().map(|book| (at_mean(book), *book)).collect();
        prices.sort_by(|a, b| a.0.total_cmp(&b.0));
        let finalists = prices.iter().take(finalists);
        finalists.map(|(_, book)| self.around(book, pmf, mean).0).min_by(f64::total_cmp)
    }

    /// The mean exponent, rounded; 0 for other symbols.
    pub(crate) fn mean(&self, counts: &[u64]) -> u8 {
        if !self.plane.centred {
            return 0;
        }
        let exponents = || counts.iter().take(ZERO).zip(0u32..);
        let mass: f64 = exponents().map(|(&count, _)| count as f64).sum();
        let moment: f64 = exponents().map(|(&count, e)| count as f64 * f64::from(e)).sum();
        if mass > 0.0 { (moment / mass).round() as u8 } else { 0 }
    }

    fn base(&self, book: &Codebook, mean: u8) -> u8 {
        if self.plane.centred { mean.wrapping_sub(book.lengths().origin()) } else { 0 }
    }

    /// Bits at the base, of those near the mean, that suits the shard best; and this base.
    pub(crate) fn around(&self, book: &Codebook, pmf: &Pmf, mean: u8) -> (f64, u8) {
        let shifts = if self.plane.centred { -2..=2 } else { 0..=0 };
        let base = self.base(book, mean);
        let prices = shifts.map(|shift| {
            let base = base.wrapping_add_signed(shift);
            (self.price(book, pmf, base), base)
        });
        prices.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, base))
    }

    fn price(&self, book: &Codebook, pmf: &Pmf, base: u8) -> f64 {
        let zeros = pmf.probabilities().get(ZERO).copied().unwrap_or(0.0);
        let apart = if book.lengths().zero() > 0 { zeros } else { 0.0 };
        book.mean_bits(pmf, base) + self.remainder * (1.0 - apart)
    }

    /// The share of symbols that take the escape.
    pub(crate) fn escapes(&self, book: &Codebook, pmf: &Pmf, base: u8) -> f64 {
        let p = pmf.probabilities();
        let symbols =
            (0..=u8::MAX).zip(p).filter(|(symbol, _)| !has_code(book, symbol.wrapping_sub(base)));
        let escaped: f64 = symbols.map(|(_, p)| p).sum();
        let zeros = p.get(ZERO).copied().unwrap_or(0.0);
        let zeros_escape = book.lengths().zero() == 0 && !has_code(book, 0u8.wrapping_sub(base));
        escaped + if zeros_escape { zeros } else { 0.0 }
    }
}

/// Whether a slot has a code of its own.
pub(crate) fn has_code(book: &Codebook, slot: u8) -> bool {
    let lengths = book.lengths();
    usize::from(slot) < lengths.alphabet().symbols() && lengths.direct(slot) > 0
}

/// Bits of a unit that are no symbols.
pub(crate) fn remainder_bits(form: Form, layout: Layout) -> f64 {
    let planes = form.dtype.planes(layout).iter();
    let remainder = planes.filter(|plane| plane.role == Role::Remainder);
    remainder.map(|plane| f64::from(plane.width) * f64::from(plane.per_unit)).sum()
}
