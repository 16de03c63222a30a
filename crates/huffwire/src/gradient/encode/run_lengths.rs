//! Run lengths without a codebook.

use super::super::values::{Value, Values, ValuesMut, with_values};
use super::symbols::RunAlphabet;
use super::{Sizes, ValueEncoder, put_count, read_count, too_long, too_wide, unzigzag, zigzag};
use crate::error::Result;
use crate::wire::{Reader, put_varint};

/// Run-length coding without a codebook: each value and its number of repetitions are two numbers, with 7 bits in a
/// byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunLengths;

impl ValueEncoder for RunLengths {
    fn name(&self) -> &'static str {
        "run-lengths"
    }

    fn encode(&self, values: Values<'_>, out: &mut Vec<u8>) -> Result<Sizes> {
        let start = out.len();
        put_count(out, values.len());
        with_values!(Values, values, values => RunAlphabet::Pairs.cut(values, |symbol| {
            put_varint(out, zigzag(symbol.value).into());
            put_varint(out, (symbol.run - 1).into());
        }));
        Ok(Sizes { total: out.len() - start, codebook: 0 })
    }

    fn decode(&self, stream: &[u8], values: ValuesMut<'_>) -> Result<()> {
        let reader = read_count(stream, values.len())?;
        with_values!(ValuesMut, values, values => decode(reader, values))
    }
}

fn decode<S: Value>(mut reader: Reader<'_>, mut values: &mut [S]) -> Result<()> {
    while !values.is_empty() {
        let number = u32::try_from(reader.varint()?);
        let value = unzigzag(number.map_err(|_| reader.malformed("a value beyond 32 bits"))?);
        let run = reader.size()?.checked_add(1).filter(|run| *run <= values.len());
        let (filled, rest) = values.split_at_mut(run.ok_or_else(too_long)?);
        filled.fill(S::narrow(value).ok_or_else(|| too_wide(value))?);
        values = rest;
    }
    reader.finish()
}
