//! Huffman codes from a sample: SH and SHS.

use super::super::values::{Values, ValuesMut};
use super::book::{Book, UNSEEN};
use super::full_count::{decode_with_book, encode_with_book};
use super::symbols::{RunAlphabet, Symbol};
use super::{Sizes, ValueEncoder, zigzag};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// The longest run of zeros that SHS has a symbol for: `k` of Gajjala et al. (2020).
pub const DEFAULT_RUNS: u32 = 200;

/// Number of draws, that of Gajjala et al. (2020).
const DRAWS: u64 = 1000;

/// The largest number of values that may have codes from a sample. Far fewer are useful.
const MAX_VALUES: i64 = 1 << 15;

/// Sample Huffman, SH (Gajjala et al. 2020, section 3): Huffman codes over values. The codebook is made from 1000
/// draws, uniform and with replacement, and each value that the quantizer can make counts once more than it was drawn.
///
/// The encoder does not read the whole tensor before it codes, so the caller gives the range of values
/// ([`Quantizer::alphabet`](crate::gradient::quantize::Quantizer::alphabet)). Values outside the range take an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sh {
    lowest: i32,
    highest: i32,
    seed: u64,
}

/// Sample Huffman with sparsity, SHS (Gajjala et al. 2020, section 3): symbols are runs of 1 to `k` zeros, and the
/// other values. Of zeros only the share `p0` is sampled. The probability of a run follows from it: `p0^r (1 - p0)`
/// for a run of `r < k` zeros, `p0^k` for one of `k`. A longer run is several symbols.
///
/// The probabilities of runs are those at a place where a run may begin. So the probability of another value is its
/// share among the draws that are not 0. (With the share among all draws, the codes of runs would be too short by
/// `log2 1/(1 - p0)` bits.) As in [`Sh`], each other value counts once more than it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shs {
    sample: Sh,
    runs: u32,
}

impl Sh {
    /// An encoder for values in a range, both ends included.
    #[must_use]
    pub const fn new(lowest: i32, highest: i32) -> Self {
        Self { lowest, highest, seed: 0 }
    }

    /// The same encoder with another seed for its draws.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn check(&self) -> Result<()> {
        let count = i64::from(self.highest) - i64::from(self.lowest) + 1;
        if (1..=MAX_VALUES).contains(&count) {
            return Ok(());
        }
        let Self { lowest, highest, .. } = self;
        Err(Error::option(format!(
            "a sample for values {lowest} to {highest}; 1 to {MAX_VALUES} values make sense"
        )))
    }

    /// Counts of the drawn values, and the number of zeros among them.
    fn draw(&self, values: Values<'_>) -> (Vec<(Symbol, f64)>, u64) {
        let size = (i64::from(self.highest) - i64::from(self.lowest) + 1) as usize;
        // Each value counts once more.
        let mut counts = vec![1u64; size];
        let random = Random::new(self.seed);
        let mut zeros = 0;
        for draw in 0..DRAWS {
            let value = values.get(random.below(draw, values.len() as u64) as usize);
            zeros += u64::from(value == 0);
            let index = i64::from(value) - i64::from(self.lowest);
            if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
        let symbols = (self.lowest..=self.highest).map(|value| Symbol { value, run: 1 });
        let mut weighed: Vec<(Symbol, f64)> =
            symbols.zip(&counts).map(|(symbol, count)| (symbol, *count as f64)).collect();
        weighed.sort_by_key(|(symbol, _)| zigzag(symbol.value));
        (weighed, zeros)
    }
}

impl Shs {
    /// An encoder for values in a range, both ends included, with symbols for runs of up to [`DEFAULT_RUNS`] zeros.
    #[must_use]
    pub const fn new(lowest: i32, highest: i32) -> Self {
        Self { sample: Sh::new(lowest, highest), runs: DEFAULT_RUNS }
    }

    /// The same encoder with another seed for its draws.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.sample = self.sample.with_seed(seed);
        self
    }

    /// The same encoder with symbols for runs of up to `runs` zeros.
    #[must_use]
    pub const fn with_runs(mut self, runs: u32) -> Self {
        self.runs = runs;
        self
    }

    fn book(&self, values: Values<'_>) -> Book {
        let (mut others, zeros) = self.sample.draw(values);
        others.retain(|(symbol, _)| symbol.value != 0);
        // The share must not be 0 or 1, since what was not drawn may still occur.
        let zero = (zeros as f64 + 0.5) / (DRAWS as f64 + 1.0);
        let all: f64 = others.iter().map(|(_, weight)| weight).sum();
        let mut weighed: Vec<(Symbol, f64)> = Vec::with_capacity(others.len() + 200);
        let mut power = 1.0;
        for run in 1..=self.runs {
            power *= zero;
            let weight = if run < self.runs { power * (1.0 - zero) } else { power };
            // The most improbable runs need codes too.
            weighed.push((Symbol { value: 0, run }, weight.max(1e-12)));
        }
        weighed.extend(others.into_iter().map(|(symbol, weight)| (symbol, weight / all)));
        Book::new(RunAlphabet::ZeroRuns(self.runs), weighed, Some(UNSEEN / DRAWS as f64))
    }
}

impl ValueEncoder for Sh {
    fn name(&self) -> &'static str {
        "sh"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        self.check()?;
        let book = || Book::new(RunAlphabet::Values, self.draw(values).0, Some(UNSEEN));
        Ok(encode_with_book(book, values, out))
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == RunAlphabet::Values, stream, values)
    }
}

impl ValueEncoder for Shs {
    fn name(&self) -> &'static str {
        "shs"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        self.sample.check()?;
        RunAlphabet::ZeroRuns(self.runs).check()?;
        Ok(encode_with_book(|| self.book(values), values, out))
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| matches!(alphabet, RunAlphabet::ZeroRuns(_)), stream, values)
    }
}
