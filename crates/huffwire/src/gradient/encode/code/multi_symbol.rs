//! Decoding several symbols with one look-up.
//!
//! A decoder learns only from its table where the next code begins, so it waits for each look-up. An entry of these
//! tables therefore holds as much as possible: up to seven values, or a run of zeros and the value after it.

use super::{Coded, Decoder, FIRST_BITS, take_escaped};
use crate::error::Result;
use crate::gradient::encode::bits::BitReader;
use crate::gradient::encode::symbols::Symbol;
use crate::gradient::encode::{too_long, too_wide};
use crate::gradient::values::Value;

/// The largest number of values in an entry.
const MOST: usize = 7;

/// Look-ups between two refills: each takes at most 11 of 56 bits.
const LOOKS: usize = 5;

/// Decodes symbols that are single values.
pub(in super::super) fn values<S: Value>(
    decoder: &Decoder<'_>,
    reader: &mut BitReader<'_>,
    values: &mut [S],
) -> Result<()> {
    if let ([alone], true) = (decoder.symbols, decoder.order.len() == 1) {
        values.fill(S::narrow(alone.value).ok_or_else(|| too_wide(alone.value))?);
        return Ok(());
    }
    let table = table_of_values(decoder);
    let mut at = 0;
    'refill: while at + LOOKS * MOST <= values.len() {
        reader.refill();
        for _ in 0..LOOKS {
            let entry = table[reader.window() as usize & (table.len() - 1)];
            let count = (entry >> 4) as usize & 0xf;
            if count == 0 {
                let symbol = take(decoder, reader)?;
                if symbol.run != 1 {
                    return Err(too_long());
                }
                values[at] = S::narrow(symbol.value).ok_or_else(|| too_wide(symbol.value))?;
                at += 1;
                continue 'refill;
            }
            reader.skip(entry as u32 & 0xf);
            // All seven places are written; those beyond `count` are written again later.
            if let Some(places) = values[at..].first_chunk_mut::<MOST>() {
                *places = std::array::from_fn(|i| S::from((entry >> (8 + 8 * i)) as i8));
            }
            at += count;
        }
    }
    one_by_one(decoder, reader, &mut values[at..])
}

/// The table for single values. An entry has the number of bits, the number of values, and the values, a byte each.
fn table_of_values(decoder: &Decoder<'_>) -> Vec<u64> {
    let entry = |bits: usize| {
        let (mut entry, mut count, mut taken) = (0, 0, 0);
        while count < MOST as u64 {
            let Some((symbol, length)) = decoder.first(bits >> taken, FIRST_BITS - taken) else {
                break;
            };
            let Ok(value) = i8::try_from(symbol.value) else { break };
            entry |= u64::from(value as u8) << (8 + 8 * count);
            count += 1;
            taken += length;
        }
        entry | count << 4 | u64::from(taken)
    };
    (0..1 << FIRST_BITS).map(entry).collect()
}

/// The same as [`values`], one symbol at a time.
pub(in super::super) fn one_by_one<S: Value>(
    decoder: &Decoder<'_>,
    reader: &mut BitReader<'_>,
    values: &mut [S],
) -> Result<()> {
    for place in values {
        let symbol = take(decoder, reader)?;
        if symbol.run != 1 {
            return Err(too_long());
        }
        *place = S::narrow(symbol.value).ok_or_else(|| too_wide(symbol.value))?;
    }
    Ok(())
}

#[inline(always)]
fn take(decoder: &Decoder<'_>, reader: &mut BitReader<'_>) -> Result<Symbol> {
    match decoder.take(reader)? {
        Coded::Symbol(symbol) => Ok(symbol),
        Coded::Escape => take_escaped(reader),
    }
}

/// In an entry for runs, the place of the number of zeros. The value after them has the bits below.
const GAP_AT: u32 = 32;
/// In an entry for runs, the place of the length of both codes together.
const BITS_AT: u32 = 56;
/// In an entry for runs, the place of the bit that says whether there is a value.
const VALUE_AT: u32 = 60;
/// In an entry for runs, the bit that says that it can be used.
const ENTRY: u64 = 1 << 61;

/// Decodes symbols of a value and a run into `values`, which must be all 0. With `quick` it makes and uses the table.
pub(in super::super) fn runs<S: Value>(
    decoder: &Decoder<'_>,
    reader: &mut BitReader<'_>,
    values: &mut [S],
    quick: bool,
) -> Result<()> {
    let table = if quick { table_of_runs(decoder) } else { vec![0] };
    let end = values.len();
    let mut at = 0;
    'refill: while at < end {
        reader.refill();
        for _ in 0..LOOKS {
            let entry = table[reader.window() as usize & (table.len() - 1)];
            if entry & ENTRY == 0 {
                at = take_run(decoder, reader, values, at)?;
                continue 'refill;
            }
            let place = at + ((entry >> GAP_AT) as usize & ((1 << (BITS_AT - GAP_AT)) - 1));
            // Without a value this writes a 0 over a 0. At the end of the values, padding may look like one more value.
            let Some(place_of_value) = values.get_mut(place) else {
                at = take_run(decoder, reader, values, at)?;
                continue 'refill;
            };
            *place_of_value = S::from(entry as i8);
            reader.skip((entry >> BITS_AT) as u32 & 0xf);
            at = place + (entry >> VALUE_AT & 1) as usize;
            if at == end {
                break 'refill;
            }
        }
    }
    Ok(())
}

/// Decodes one symbol. Returns the place of the next one.
fn take_run<S: Value>(
    decoder: &Decoder<'_>,
    reader: &mut BitReader<'_>,
    values: &mut [S],
    at: usize,
) -> Result<usize> {
    let symbol = take(decoder, reader)?;
    let run = symbol.run as usize;
    if run > values.len() - at {
        return Err(too_long());
    }
    let value = S::narrow(symbol.value).ok_or_else(|| too_wide(symbol.value))?;
    // Without a branch on the value, since the processor cannot predict where zeros are.
    values[at] = value;
    if (run > 1) & (symbol.value != 0) {
        values[at..at + run].fill(value);
    }
    Ok(at + run)
}

/// The table for runs. An entry has a run of zeros, a value of one byte, or both.
fn table_of_runs(decoder: &Decoder<'_>) -> Vec<u64> {
    let value_of = |symbol: Symbol| {
        let value = i8::try_from(symbol.value).ok()?;
        (symbol.run == 1 && value != 0).then_some(u64::from(value as u8))
    };
    let entry = |bits: usize| {
        let Some((first, length)) = decoder.first(bits, FIRST_BITS) else { return 0 };
        if first.value != 0 {
            let both = |value| value | 1 << VALUE_AT | u64::from(length) << BITS_AT | ENTRY;
            return value_of(first).map_or(0, both);
        }
        let gap = u64::from(first.run) << GAP_AT;
        let second = decoder.first(bits >> length, FIRST_BITS - length);
        match second.and_then(|(symbol, more)| Some((value_of(symbol)?, more))) {
            Some((value, more)) => {
                value | 1 << VALUE_AT | gap | u64::from(length + more) << BITS_AT | ENTRY
            }
            None => gap | u64::from(length) << BITS_AT | ENTRY,
        }
    };
    (0..1 << FIRST_BITS).map(entry).collect()
}
