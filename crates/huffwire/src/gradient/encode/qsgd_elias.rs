//! QSGD's own codes: gaps and levels.

use super::super::states::{State, States, StatesMut, with_states};
use super::elias::{Bits, Code, Omega, Words, words};
use super::symbols::gaps;
use super::{Sizes, StateEncoder, malformed, put_count, read_count, too_long, too_wide};
use crate::error::Result;

/// Which of the two codes of the QSGD paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QsgdScheme {
    /// Each state that is not 0 as its distance from the one before, its sign and its level (section 3.2
    /// and appendix A.2): for few levels, where most states are 0.
    Sparse,
    /// Each state as its level and 1, and its sign if it is not 0 (appendix A.3): for many levels.
    Dense,
}

/// The codes of QSGD (Alistarh et al., NIPS 2017), all numbers in Elias ω; norms are not part of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QsgdElias {
    scheme: QsgdScheme,
}

impl QsgdElias {
    /// With this scheme.
    #[must_use]
    pub const fn new(scheme: QsgdScheme) -> Self {
        Self { scheme }
    }
}

impl StateEncoder for QsgdElias {
    fn name(&self) -> &'static str {
        match self.scheme {
            QsgdScheme::Sparse => "qsgd-elias",
            QsgdScheme::Dense => "qsgd-elias-dense",
        }
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, states.len());
        let mut bits = Bits::new();
        with_states!(States, states, states => match self.scheme {
            QsgdScheme::Sparse => put_sparse(states, &mut bits),
            QsgdScheme::Dense => put_dense(states, &mut bits),
        });
        bits.finish(out)?;
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        let mut reader = read_count(stream, states.len())?;
        let words = words(reader.rest());
        with_states!(StatesMut, states, states => match self.scheme {
            QsgdScheme::Sparse => take_sparse(&words, states),
            QsgdScheme::Dense => take_dense(&words, states),
        })
    }
}

fn put_sparse<S: State>(states: &[S], bits: &mut Bits) {
    let last = gaps(states, |gap, state| {
        let state: i32 = state.into();
        bits.put::<Omega>(gap as u64);
        bits.put_bit(state < 0);
        bits.put::<Omega>((state.unsigned_abs() - 1).into());
    });
    // A last gap, to the end, makes it complete.
    bits.put::<Omega>(last as u64);
}

fn take_sparse<S: State>(words: &Words, states: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    states.fill(S::default());
    let mut rest = states;
    loop {
        let gap = Omega::take(&mut reader)?;
        let gap = usize::try_from(gap).ok().filter(|gap| *gap <= rest.len());
        let [state, after @ ..] = &mut rest[gap.ok_or_else(too_long)?..] else { break };
        let negative = reader.take_bit()?;
        *state = signed(Omega::take(&mut reader)? + 1, negative)?;
        rest = after;
    }
    words.finish(reader)
}

fn put_dense<S: State>(states: &[S], bits: &mut Bits) {
    for &state in states {
        let state: i32 = state.into();
        bits.put::<Omega>(state.unsigned_abs().into());
        if state != 0 {
            bits.put_bit(state < 0);
        }
    }
}

fn take_dense<S: State>(words: &Words, states: &mut [S]) -> Result<()> {
    let mut reader = words.reader();
    for state in states {
        let level = Omega::take(&mut reader)?;
        let negative = level != 0 && reader.take_bit()?;
        *state = signed(level, negative)?;
    }
    words.finish(reader)
}

#[inline(always)]
fn signed<S: State>(level: u64, negative: bool) -> Result<S> {
    // Levels have 41 bits at most.
    let level = level as i64;
    let state = i32::try_from(if negative { -level } else { level });
    let state = state.map_err(|_| malformed("a state beyond 32 bits"))?;
    S::narrow(state).ok_or_else(|| too_wide(state))
}
