//! How long a fixed codebook stays good, and when to make a new one.

use super::super::values::Values;
use super::fixed::Fixed;
use super::symbols::Counts;

/// What a codebook costs, beside one that was made for the very data and could take its place: also with an
/// escape. Neither counts the codebook itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// Bits that the codebook at hand takes.
    pub spent_bits: u64,
    /// Bits that a fresh one would take.
    pub fresh_bits: u64,
}

impl Drift {
    /// What is lost, relative to a fresh codebook: 0.01 for one percent. Where a fresh one takes no bits at
    /// all, each bit spent counts as such.
    #[must_use]
    pub fn regret(&self) -> f64 {
        let lost = self.spent_bits as f64 - self.fresh_bits as f64;
        lost / (self.fresh_bits as f64).max(1.0)
    }
}

/// Watches a fixed codebook beside the traffic: looks at every n-th tensor, and says when regret exceeds
/// what is tolerated. When to switch is the caller's decision, since both ends must do it at once.
///
/// ```
/// use huffwire::gradient::encode::{RunAlphabet, Fixed, Keeper};
///
/// let sparse: Vec<i8> = (0..9000).map(|i| i8::from(i % 50 == 0)).collect();
/// let dense: Vec<i8> = (0..9000).map(|i| (i % 7 % 3) as i8).collect();
///
/// let mut keeper = Keeper::new(Fixed::train(RunAlphabet::Values, [sparse[..].into()])?, 0.05, 2);
/// assert!(keeper.observe(sparse[..].into()).is_some(), "the first one is looked at");
/// assert!(keeper.observe(dense[..].into()).is_none(), "the second one is not");
/// assert!(!keeper.is_due());
/// keeper.observe(dense[..].into());
/// assert!(keeper.is_due());
/// keeper.switch(keeper.fresh());
/// assert!(!keeper.is_due());
/// # Ok::<(), huffwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Keeper {
    book: Fixed,
    tolerance: f64,
    every: u64,
    seen: u64,
    recent: Counts,
    drift: Drift,
}

impl Keeper {
    /// Watches `book`; a `tolerance` of 0.02 means that 2 % may be lost; of `every` tensors one is looked at.
    #[must_use]
    pub fn new(book: Fixed, tolerance: f64, every: u64) -> Self {
        let (recent, drift) = (Counts::default(), Drift::default());
        Self { book, tolerance, every: every.max(1), seen: 0, recent, drift }
    }

    /// The codebook in use.
    #[must_use]
    pub const fn book(&self) -> &Fixed {
        &self.book
    }

    /// Takes notice of a tensor that is going to be sent. `None` when it is not the turn of this one.
    pub fn observe(&mut self, values: Values<'_>) -> Option<Drift> {
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.every) {
            return None;
        }
        self.recent = self.book.alphabet().count(values);
        self.drift = self.book.drift_of(&self.recent);
        Some(self.drift)
    }

    /// Whether the last tensor looked at lost more than is tolerated.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.drift.regret() > self.tolerance
    }

    /// A codebook for the last tensor looked at.
    #[must_use]
    pub fn fresh(&self) -> Fixed {
        Fixed::from_counts(self.book.alphabet(), &self.recent)
    }

    /// From now on this one is in use.
    pub fn switch(&mut self, book: Fixed) {
        self.book = book;
        self.drift = Drift::default();
    }
}
