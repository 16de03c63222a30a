//! Run lengths alone.

use super::super::states::{State, States, StatesMut, with_states};
use super::symbols::Alphabet;
use super::{Sizes, StateEncoder, put_count, read_count, too_long, too_wide, unzigzag, zigzag};
use crate::error::Result;
use crate::wire::{Reader, put_varint};

/// Run-length coding without any codebook: each state and its number of repetitions as two numbers of
/// 7 bits a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs;

impl StateEncoder for Runs {
    fn name(&self) -> &'static str {
        "runs"
    }

    fn encode(&self, states: States<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, states.len());
        with_states!(States, states, states => Alphabet::Pairs.cut(states, |symbol| {
            put_varint(out, zigzag(symbol.state).into());
            put_varint(out, (symbol.run - 1).into());
        }));
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], states: StatesMut<'_>) -> Result<()> {
        let reader = read_count(stream, states.len())?;
        with_states!(StatesMut, states, states => decode(reader, states))
    }
}

fn decode<S: State>(mut reader: Reader<'_>, mut states: &mut [S]) -> Result<()> {
    while !states.is_empty() {
        let number = u32::try_from(reader.varint()?);
        let state = unzigzag(number.map_err(|_| reader.malformed("a state beyond 32 bits"))?);
        let run = reader.size()?.checked_add(1).filter(|run| *run <= states.len());
        let (filled, rest) = states.split_at_mut(run.ok_or_else(too_long)?);
        filled.fill(S::narrow(state).ok_or_else(|| too_wide(state))?);
        states = rest;
    }
    reader.finish()
}
