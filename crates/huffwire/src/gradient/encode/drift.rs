//! Drift: how much worse fixed codebooks have become, and when to fit new ones.

use super::super::values::Values;

/// Codebooks that both ends hold: [`Fixed`](super::Fixed) and [`BitmapBooks`](super::BitmapBooks).
pub trait FixedBooks: Sized {
    /// What these codebooks cost for some values, beside codebooks that are fitted to these very values. All
    /// values are counted.
    #[must_use]
    fn drift(&self, values: Values<'_>) -> Drift;

    /// Codebooks of the same kind, fitted to these values alone. Without values these are the same as before.
    #[must_use]
    fn refit(&self, values: Values<'_>) -> Self;
}

/// What fixed codebooks cost, beside fitted ones that could take their place and so have an escape too. The
/// bits of the codebooks themselves are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// Bits that the fixed codebooks take.
    pub spent_bits: u64,
    /// Bits that the fitted ones would take.
    pub fresh_bits: u64,
}

impl Drift {
    /// What is lost, relative to fitted codebooks: 0.01 for one percent. Where fitted ones would take no bits at
    /// all, the regret is the number of bits spent.
    #[must_use]
    pub fn regret(&self) -> f64 {
        let lost = self.spent_bits as f64 - self.fresh_bits as f64;
        lost / (self.fresh_bits as f64).max(1.0)
    }
}

/// When fixed codebooks are replaced: the policy counts the values of every n-th tensor, and has new codebooks
/// ready when the old ones lose more than is tolerated. The caller decides when to switch, since both ends must
/// do it at once.
///
/// ```
/// use huffwire::gradient::encode::{Fixed, RefreshPolicy, RunAlphabet};
///
/// let sparse: Vec<i8> = (0..9000).map(|i| i8::from(i % 50 == 0)).collect();
/// let dense: Vec<i8> = (0..9000).map(|i| (i % 7 % 3) as i8).collect();
///
/// let book = Fixed::train(RunAlphabet::Values, [sparse[..].into()])?;
/// let mut policy = RefreshPolicy::new(book, 0.05, 2);
/// assert!(policy.observe(sparse[..].into()).is_some(), "the first tensor is counted");
/// assert!(policy.observe(dense[..].into()).is_none(), "the second one is not");
/// assert!(policy.fresh().is_none());
/// policy.observe(dense[..].into());
/// let fresh = policy.fresh().cloned().expect("too much is lost");
/// policy.switch(fresh);
/// assert!(policy.fresh().is_none());
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RefreshPolicy<B> {
    books: B,
    tolerance: f64,
    every: u64,
    seen: u64,
    fresh: Option<B>,
}

impl<B: FixedBooks> RefreshPolicy<B> {
    /// A policy for `books`. With a `tolerance` of 0.02 they may lose 2 %; one of `every` tensors is counted.
    #[must_use]
    pub fn new(books: B, tolerance: f64, every: u64) -> Self {
        Self { books, tolerance, every: every.max(1), seen: 0, fresh: None }
    }

    /// The codebooks in use.
    #[must_use]
    pub const fn books(&self) -> &B {
        &self.books
    }

    /// Takes notice of a tensor that is going to be sent. Returns its drift, or `None` when this tensor is not
    /// counted.
    pub fn observe(&mut self, values: Values<'_>) -> Option<Drift> {
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.every) {
            return None;
        }
        let drift = self.books.drift(values);
        let is_due = drift.regret() > self.tolerance;
        self.fresh = is_due.then(|| self.books.refit(values));
        Some(drift)
    }

    /// Codebooks fitted to the tensor that was counted last, if the codebooks in use lost more on it than is
    /// tolerated.
    #[must_use]
    pub const fn fresh(&self) -> Option<&B> {
        self.fresh.as_ref()
    }

    /// From now on these codebooks are in use.
    pub fn switch(&mut self, books: B) {
        self.books = books;
        self.fresh = None;
    }
}
