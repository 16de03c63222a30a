//! The life of a codebook: traffic is sampled, books that have become worse than new ones are found, and new ones are
//! made from the sample.
//!
//! Books are fixed in advance, and tensors drift. How far they have drifted is the *regret* of the books: the bits that
//! they spend on what is sent, divided by the bits that new books would spend, less 1. New books have to be sent to all
//! who decode, and both ends have to switch at the same message, so they must pay for that.
//!
//! One mechanism serves all books that implement [`Refreshable`]: [`TensorBooks`], which are a [`CodebookSet`](crate::CodebookSet), and with
//! the feature `gradient` the fixed books of quantized values. A [`Refresher`] goes through four steps:
//!
//! 1. **Observe.** [`Refresher::observe`] is called for each message. Once in a while ([`Limits::interval`]) it copies a
//!    small part of the message, and does nothing else. That is the only step beside the traffic, and costs less than 2 %
//!    of the time that encoding takes (`docs/codebooks.md` has measurements).
//! 2. **Judge.** When [`Refresher::is_due`], [`Refresher::judge`] makes new books from the samples, and compares what old
//!    and new ones spend. This takes milliseconds, and belongs on another thread: a clone of the refresher
//!    can do it ([`Refresher::postpone`]).
//! 3. **Ship.** The caller sends the bytes of the proposed books to all ends, in any way and at any time.
//! 4. **Switch.** All ends take the new books for the same message on, and the refresher is told by
//!    [`Refresher::switch`]. Messages name their set by its id, so an end that missed the switch gets an error and no wrong
//!    tensor.
//!
//! A refresher judges only when all its samples are younger than the last switch, and proposes books only if
//!
//! * the regret is above [`Limits::regret`],
//! * at least [`Limits::every`] messages were sent since the last switch or judgement, and
//! * the new books will save more in that many messages than their own bytes are.
//!
//! What they save is estimated on the first half of the samples by books made from the other half, and the other way
//! round: books always look good on what they were made from.
//!
//! ```
//! use huffwire::refresh::{Limits, Refresher, TensorBooks};
//! use huffwire::{CodebookSet, Dtype, Tensor};
//!
//! // All bytes with the same exponent: the built-in books expect more of them.
//! let tensor: Vec<u8> = (0..65_536u32).flat_map(|i| [(i * i >> 7) as u8, 0x3c]).collect();
//! let limits = Limits { every: 20, interval: 1 << 16, ..Limits::default() };
//! let mut refresher = Refresher::new(TensorBooks::new(CodebookSet::builtin()), limits);
//! while !refresher.is_due() {
//!     refresher.observe(&Tensor::new(Dtype::Bf16, &tensor).named("layers.3.weight"));
//! }
//! if let Some(proposal) = refresher.judge()? {
//!     let bytes = proposal.books.set().to_bytes(); // for the other ends
//!     assert!(proposal.saved_bytes > bytes.len() as f64);
//!     refresher.switch(proposal.books);
//! }
//! # Ok::<(), huffwire::Error>(())
//! ```

mod tensors;

pub use tensors::{TensorBooks, TensorSample};

use crate::error::Result;

/// Books that can be made anew from a sample of the traffic.
pub trait Refreshable: Clone {
    /// What is sent: a message before it is coded.
    type Message<'a>;

    /// A copy of a small part of a message.
    type Sample: Clone;

    /// The size of a message, in the unit of [`Limits::interval`].
    fn size(message: &Self::Message<'_>) -> usize;

    /// The size of a sample, in the same unit.
    fn sample_size(sample: &Self::Sample) -> usize;

    /// Copies a part of a message. Where it lies follows from `place`, a random number. `None` if the message has nothing
    /// to copy.
    fn sample(message: &Self::Message<'_>, place: u64) -> Option<Self::Sample>;

    /// The bits that these books spend on some samples, without what any books leave as it is.
    ///
    /// # Errors
    /// As encoding.
    fn bits(&self, samples: &[Self::Sample]) -> Result<u64>;

    /// New books of the same kind, made from samples. Without samples they are the same as before.
    ///
    /// # Errors
    /// As making books.
    fn refit(&self, samples: &[Self::Sample]) -> Result<Self>;

    /// The bytes that the books take on their way to those who decode.
    fn shipping_bytes(&self) -> usize;

    /// What these books spend on samples, beside books that are made from these very samples.
    ///
    /// # Errors
    /// As [`Refreshable::bits`] and [`Refreshable::refit`].
    fn regret(&self, samples: &[Self::Sample]) -> Result<Regret> {
        let fresh_bits = self.refit(samples)?.bits(samples)?;
        Ok(Regret { spent_bits: self.bits(samples)?, fresh_bits })
    }
}

/// The bits that books spend, beside those of new books. The bits of the books themselves are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regret {
    /// Bits that the books in use take.
    pub spent_bits: u64,
    /// Bits that new ones take.
    pub fresh_bits: u64,
}

impl Regret {
    /// The regret: 0.01 for one percent. Where new books take no bits at all, it is the number of bits spent.
    #[must_use]
    pub fn share(&self) -> f64 {
        let lost = self.spent_bits as f64 - self.fresh_bits as f64;
        lost / (self.fresh_bits as f64).max(1.0)
    }
}

/// When books are replaced, and how much is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The regret above which books are replaced; 0.01 for one percent.
    pub regret: f64,
    /// Messages from one switch or judgement to the next, at least. New books have to pay for their bytes in so many
    /// messages.
    pub every: u64,
    /// What is sent from one sample to the next, on average: bytes of tensors, or quantized values.
    pub interval: usize,
    /// Samples that a judgement is made from: the last ones. At least 2.
    pub samples: usize,
}

impl Default for Limits {
    /// 2 % of regret, at most every 1000 messages, judged by 32 samples of one in 8 MiB.
    fn default() -> Self {
        Self { regret: 0.02, every: 1000, interval: 8 << 20, samples: 32 }
    }
}

/// New books that pay.
#[derive(Debug, Clone)]
pub struct Proposal<B> {
    /// The books.
    pub books: B,
    /// What the books in use spend on the samples, and the new ones, each on samples that they were not made from.
    pub regret: Regret,
    /// Bytes that the new books are expected to save in [`Limits::every`] messages.
    pub saved_bytes: f64,
    /// Bytes of the books themselves.
    pub shipping_bytes: usize,
}

/// Books in use, and a sample of what is sent with them.
#[derive(Debug, Clone)]
pub struct Refresher<B: Refreshable> {
    books: B,
    limits: Limits,
    /// The last samples; the oldest one is at `next` when there are as many as wanted.
    samples: Vec<B::Sample>,
    next: usize,
    /// Messages since the last switch, and their size.
    messages: u64,
    sent: u64,
    /// What may still be sent before the next sample.
    left: u64,
    /// Messages since the last judgement or switch, and samples.
    unjudged: u64,
    unjudged_samples: usize,
    /// Samples taken in all.
    taken: u64,
    regret: Option<Regret>,
}

impl<B: Refreshable> Refresher<B> {
    /// A refresher for books that are in use from now on.
    #[must_use]
    pub fn new(books: B, limits: Limits) -> Self {
        let limits = Limits { samples: limits.samples.max(2), ..limits };
        Self {
            books,
            limits,
            samples: Vec::new(),
            next: 0,
            messages: 0,
            sent: 0,
            left: 0,
            unjudged: 0,
            unjudged_samples: 0,
            taken: 0,
            regret: None,
        }
    }

    /// The books in use.
    #[must_use]
    pub const fn books(&self) -> &B {
        &self.books
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The regret found by the last judgement; `None` before the first one and after a switch.
    #[must_use]
    pub const fn regret(&self) -> Option<Regret> {
        self.regret
    }

    /// The samples that the next judgement is made from, in any order.
    #[must_use]
    pub fn samples(&self) -> &[B::Sample] {
        &self.samples
    }

    /// Takes notice of a message that is sent, and copies a part of it if a sample is due.
    #[inline]
    pub fn observe(&mut self, message: &B::Message<'_>) {
        let size = B::size(message) as u64;
        self.messages += 1;
        self.unjudged += 1;
        self.sent += size;
        if size <= self.left {
            self.left -= size;
        } else {
            self.take(message);
        }
    }

    #[cold]
    fn take(&mut self, message: &B::Message<'_>) {
        let random = random(self.taken);
        let Some(sample) = B::sample(message, random) else { return };
        self.taken += 1;
        // From half to three halves of the interval: what comes back regularly is not always missed.
        let interval = self.limits.interval as u64;
        self.left = interval / 2 + ((u128::from(random) * u128::from(interval)) >> 64) as u64;
        self.unjudged_samples += 1;
        match self.samples.get_mut(self.next) {
            Some(oldest) => *oldest = sample,
            None => self.samples.push(sample),
        }
        self.next = (self.next + 1) % self.limits.samples;
    }

    /// Whether it is time for a judgement: there were enough messages since the last judgement or switch, there are enough
    /// samples, and at least half of them are new.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        self.unjudged >= self.limits.every
            && self.samples.len() >= self.limits.samples
            && 2 * self.unjudged_samples >= self.limits.samples
    }

    /// Makes new books from the samples if it is time for a judgement, and proposes them if they pay. This takes
    /// milliseconds.
    ///
    /// # Errors
    /// As [`Refreshable::refit`] and [`Refreshable::bits`].
    pub fn judge(&mut self) -> Result<Option<Proposal<B>>> {
        if self.is_due() { self.judge_now() } else { Ok(None) }
    }

    /// The same whether it is time for a judgement or not, from the samples at hand. Fewer than two samples give no
    /// proposal and no regret.
    ///
    /// # Errors
    /// As [`Refresher::judge`].
    pub fn judge_now(&mut self) -> Result<Option<Proposal<B>>> {
        self.postpone(None);
        if self.samples.len() < 2 {
            return Ok(None);
        }
        // Each half is coded with books of the other one.
        let (first, second) = self.samples.split_at(self.samples.len() / 2);
        let fresh_bits = [(first, second), (second, first)].map(|(made_from, coded)| {
            self.books.refit(made_from).and_then(|books| books.bits(coded))
        });
        let [a, b] = fresh_bits;
        let regret = Regret { spent_bits: self.books.bits(&self.samples)?, fresh_bits: a? + b? };
        self.regret = Some(regret);
        if regret.share() <= self.limits.regret {
            return Ok(None);
        }
        let books = self.books.refit(&self.samples)?;
        let shipping_bytes = books.shipping_bytes();
        let sampled: usize = self.samples.iter().map(B::sample_size).sum();
        let saved = (regret.spent_bits.saturating_sub(regret.fresh_bits)) as f64 / 8.0;
        let each = self.sent as f64 / self.messages as f64;
        let saved_bytes = saved / (sampled as f64).max(1.0) * each * self.limits.every as f64;
        let pays = saved_bytes > shipping_bytes as f64;
        Ok(pays.then_some(Proposal { books, regret, saved_bytes, shipping_bytes }))
    }

    /// Takes notice that a clone is judging, or has judged and found a regret: the next judgement is due after as many
    /// messages as after one of its own.
    pub const fn postpone(&mut self, regret: Option<Regret>) {
        self.unjudged = 0;
        self.unjudged_samples = 0;
        self.regret = regret;
    }

    /// From now on these books are in use. Samples of earlier messages are forgotten.
    pub fn switch(&mut self, books: B) {
        let taken = self.taken;
        *self = Self { taken, ..Self::new(books, self.limits) };
    }
}

/// A random number by its index.
const fn random(index: u64) -> u64 {
    let z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
