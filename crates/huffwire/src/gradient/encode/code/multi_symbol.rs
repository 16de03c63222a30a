//! Decoding: several symbols by one look at a table.
//!
//! A decoder waits for its table: only there it learns where the next code begins. So each look should
//! give as much as possible: up to seven values, or a run of zeros and the value behind it.

use super::{Coded, Decoder, FIRST_BITS};
use crate::error::Result;
use crate::gradient::encode::bits::BitReader;
use crate::gradient::encode::book::take_escaped;
use crate::gradient::encode::symbols::Symbol;
use crate::gradient::encode::{too_long, too_wide};
use crate::gradient::values::Value;

/// Values of an entry.
const MOST: usize = 7;

/// Looks at a table between two refills: 11 bits each of 56.
const LOOKS: usize = 5;

/// Decodes symbols of a value each.
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
            // All, whether they are or not: what is not is written over.
            if let Some(places) = values[at..].first_chunk_mut::<MOST>() {
                *places = std::array::from_fn(|i| S::from((entry >> (8 + 8 * i)) as i8));
            }
            at += count;
        }
    }
    one_by_one(decoder, reader, &mut values[at..])
}

/// An entry: the number of bits, that of values, and these, a byte each.
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

/// As [`values`], one symbol at a time.
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

/// Bits of an entry of runs: the value in the low 32, then the zeros before it.
const GAP_AT: u32 = 32;
/// Then the length of both codes.
const BITS_AT: u32 = 56;
/// Then whether there is a value.
const VALUE_AT: u32 = 60;
/// And whether there is an entry.
const ENTRY: u64 = 1 << 61;

/// Decodes symbols of a value and a run; the room is filled with zeros.
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
            // A 0, if there is no value, where one is anyway. At the end what looks like a value may be padding.
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

/// One symbol; returns where the next one goes.
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
    // Without looking at it: zeros come as they like.
    values[at] = value;
    if (run > 1) & (symbol.value != 0) {
        values[at..at + run].fill(value);
    }
    Ok(at + run)
}

/// A run of zeros, a value of a byte, or both, where they fit.
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
