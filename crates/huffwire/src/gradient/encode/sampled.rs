//! Huffman codes from a sample: SH and SHS.

use super::super::states::{States, StatesMut};
use super::book::{Book, UNSEEN};
use super::counted::{decode_with_book, encode_with_book};
use super::symbols::{Alphabet, Symbol};
use super::{Sizes, StateEncoder, zigzag};
use crate::error::{Error, Result};
use crate::gradient::Random;

/// Runs of zeros that SHS has symbols for: the paper's `k`.
pub const DEFAULT_RUNS: u32 = 200;

/// Draws: the paper's number.
const DRAWS: u64 = 1000;

/// The most states that a sampling encoder takes codes for; far fewer are useful.
const MAX_STATES: i64 = 1 << 15;

/// Sample Huffman (Gajjala et al. 2020, section 3): Huffman over states, its codebook from 1000 draws,
/// uniform and with replacement, and one more of every state that the quantizer has.
///
/// It never looks at the whole tensor before coding it; so the range of states has to be told
/// ([`Quantizer::alphabet`](crate::gradient::quantize::Quantizer::alphabet)). States outside it take an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sh {
    lowest: i32,
    highest: i32,
    seed: u64,
}

/// Sample Huffman with sparsity (Gajjala et al. 2020, section 3): symbols are zero runs of 1 to `k` and
/// other states; of the zeros only the share `p0` is sampled, and the probabilities of runs follow from it:
/// `p0^r (1 - p0)` for `r < k`, `p0^k` for `k`. Longer runs are several symbols.
///
/// Those of runs are probabilities where a run may begin: beside them stand the *conditional* ones of
/// other states, their share among the draws that are not 0. (With their share among all draws, codes of
/// runs would get too short by `log2 1/(1 - p0)` bits.) Each other state counts once more than it was
/// drawn, as in [`Sh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shs {
    sample: Sh,
    runs: u32,
}

impl Sh {
    /// For states in a range, both ends included.
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
        if (1..=MAX_STATES).contains(&count) {
            return Ok(());
        }
        let Self { lowest, highest, .. } = self;
        Err(Error::option(format!(
            "a sample for states {lowest} to {highest}; 1 to {MAX_STATES} states make sense"
        )))
    }

    /// What was drawn of each state, and how many 0 were.
    fn draw(&self, states: States<'_>) -> (Vec<(Symbol, f64)>, u64) {
        let size = (i64::from(self.highest) - i64::from(self.lowest) + 1) as usize;
        // One more of each.
        let mut counts = vec![1u64; size];
        let random = Random::new(self.seed);
        let mut zeros = 0;
        for draw in 0..DRAWS {
            let state = states.get(random.below(draw, states.len() as u64) as usize);
            zeros += u64::from(state == 0);
            let index = i64::from(state) - i64::from(self.lowest);
            if let Some(count) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
        let symbols = (self.lowest..=self.highest).map(|state| Symbol { state, run: 1 });
        let mut weighed: Vec<(Symbol, f64)> =
            symbols.zip(&counts).map(|(symbol, count)| (symbol, *count as f64)).collect();
        weighed.sort_by_key(|(symbol, _)| zigzag(symbol.state));
        (weighed, zeros)
    }
}

impl Shs {
    /// For states in a range, both ends included, with symbols for runs of up to [`DEFAULT_RUNS`].
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

    fn book(&self, states: States<'_>) -> Book {
        let (mut others, zeros) = self.sample.draw(states);
        others.retain(|(symbol, _)| symbol.state != 0);
        // Neither 0 nor 1: what was not drawn may occur.
        let zero = (zeros as f64 + 0.5) / (DRAWS as f64 + 1.0);
        let all: f64 = others.iter().map(|(_, weight)| weight).sum();
        let mut weighed: Vec<(Symbol, f64)> = Vec::with_capacity(others.len() + 200);
        let mut power = 1.0;
        for run in 1..=self.runs {
            power *= zero;
            let weight = if run < self.runs { power * (1.0 - zero) } else { power };
            // Runs that are beyond all probability must have codes all the same.
            weighed.push((Symbol { state: 0, run }, weight.max(1e-12)));
        }
        weighed.extend(others.into_iter().map(|(symbol, weight)| (symbol, weight / all)));
        Book::new(Alphabet::ZeroRuns(self.runs), weighed, Some(UNSEEN / DRAWS as f64))
    }
}

impl StateEncoder for Sh {
    fn name(&self) -> &'static str {
        "sh"
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        self.check()?;
        let book = || Book::new(Alphabet::States, self.draw(states).0, Some(UNSEEN));
        Ok(encode_with_book(book, states, out))
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| alphabet == Alphabet::States, stream, states)
    }
}

impl StateEncoder for Shs {
    fn name(&self) -> &'static str {
        "shs"
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        self.sample.check()?;
        Alphabet::ZeroRuns(self.runs).check()?;
        Ok(encode_with_book(|| self.book(states), states, out))
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        decode_with_book(|alphabet| matches!(alphabet, Alphabet::ZeroRuns(_)), stream, states)
    }
}
