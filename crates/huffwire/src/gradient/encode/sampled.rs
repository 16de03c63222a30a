//! Huffman codes from a sample: SH and SHS.

use super::super::values::{Values, ValuesMut};
use super::book::{Book, UNSEEN};
use super::full_count::{decode_with_book, encode_with_book};
use super::symbols::{RunAlphabet, Symbol};
use super::{Sizes, ValueEncoder, zigzag};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// RunLengths of zeros that SHS has symbols for: the paper's `k`.
pub const DEFAULT_RUNS: u32 = 200;

/// Draws: the paper's number.
const DRAWS: u64 = 1000;

/// The most values that a sampling encoder takes codes for; far fewer are useful.
const MAX_VALUES: i64 = 1 << 15;

/// Sample Huffman (Gajjala et al. 2020, section 3): Huffman over values, its codebook from 1000 draws,
/// uniform and with replacement, and one more of every value that the quantizer has.
///
/// It never looks at the whole tensor before coding it; so the range of values has to be told
/// ([`Quantizer::alphabet`](crate::gradient::quantize::Quantizer::alphabet)). Values outside it take an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sh {
    lowest: i32,
    highest: i32,
    seed: u64,
}

/// Sample Huffman with sparsity (Gajjala et al. 2020, section 3): symbols are zero runs of 1 to `k` and
/// other values; of the zeros only the share `p0` is sampled, and the probabilities of runs follow from it:
/// `p0^r (1 - p0)` for `r < k`, `p0^k` for `k`. Longer runs are several symbols.
///
/// Those of runs are probabilities where a run may begin: beside them stand the *conditional* ones of
/// other values, their share among the draws that are not 0. (With their share among all draws, codes of
/// runs would get too short by `log2 1/(1 - p0)` bits.) Each other value counts once more than it was
/// drawn, as in [`Sh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shs {
    sample: Sh,
    runs: u32,
}

impl Sh {
    /// For values in a range, both ends included.
    #[must_use]
    pub const fn new(lowest: i32, highest: i32) -> Self {
        Self { lowest, highest, seed: 0 }
    }

    /// Draws with another seed.
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

    /// What was drawn of each value, and how many 0 were.
    fn draw(&self, values: Values<'_>) -> (Vec<(Symbol, f64)>, u64) {
        let size = (i64::from(self.highest) - i64::from(self.lowest) + 1) as usize;
        // One more of each.
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
    /// For values in a range, both ends included, with symbols for runs of up to [`DEFAULT_RUNS`].
    #[must_use]
    pub const fn new(lowest: i32, highest: i32) -> Self {
        Self { sample: Sh::new(lowest, highest), runs: DEFAULT_RUNS }
    }

    /// Draws with another seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.sample = self.sample.with_seed(seed);
        self
    }

    /// With symbols for runs of up to so many zeros.
    #[must_use]
    pub const fn with_runs(mut self, runs: u32) -> Self {
        self.runs = runs;
        self
    }

    fn book(&self, values: Values<'_>) -> Book {
        let (mut others, zeros) = self.sample.draw(values);
        others.retain(|(symbol, _)| symbol.value != 0);
        // Neither 0 nor 1: what was not drawn may occur.
        let zero = (zeros as f64 + 0.5) / (DRAWS as f64 + 1.0);
        let all: f64 = others.iter().map(|(_, weight)| weight).sum();
        let mut weighed: Vec<(Symbol, f64)> = Vec::with_capacity(others.len() + 200);
        let mut power = 1.0;
        for run in 1..=self.runs {
            power *= zero;
            let weight = if run < self.runs { power * (1.0 - zero) } else { power };
            // RunLengths that are beyond all probability must have codes all the same.
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
