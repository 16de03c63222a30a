//! Canonical prefix codes over alphabets of any size, and the tables that use them.
//!
//! The codebooks of [`crate::codebook`] are for 256 symbols and the lane coder; those of runs need
//! thousands. Codes have at most [`MAX_BITS`]; they are written from their first bit on, so reversed in
//! bytes whose lowest bit comes first.

pub(super) mod multi_symbol;

use std::collections::HashMap;

use super::bits::{BitReader, BitWriter};
use super::malformed;
use super::symbols::{Symbol, TABLE, place};
use crate::codebook::build::{huffman_lengths, limited_lengths};
use crate::error::Result;

/// The longest code.
pub(super) const MAX_BITS: u8 = 20;
/// The most codes, with so many that the limit still costs nothing worth mentioning.
pub(super) const MAX_CODES: usize = 1 << 16;
/// Bits that the decoder looks up at once.
const FIRST_BITS: u32 = 11;

/// Optimal lengths for these weights, which must be positive; one weight alone gets length 0.
pub(super) fn lengths(weights: &[f64]) -> Vec<u8> {
    let lengths = huffman_lengths(weights);
    if lengths.iter().all(|&length| length <= MAX_BITS) {
        return lengths;
    }
    // There are fewer than 2^MAX_BITS weights, so this never is `None`.
    limited_lengths(weights, MAX_BITS).unwrap_or(lengths)
}

/// Whether these lengths are those of a complete code; a lone one must be 0.
pub(super) fn is_complete(lengths: &[u8]) -> bool {
    match lengths {
        [] => false,
        [alone] => *alone == 0,
        _ => {
            let valid = lengths.iter().all(|length| (1..=MAX_BITS).contains(length));
            valid
                && lengths.iter().map(|length| 1u64 << (MAX_BITS - length)).sum::<u64>()
                    == 1 << MAX_BITS
        }
    }
}

/// Codes of the lengths: sorted by length, then by index; consecutive; their bits reversed.
fn codes(lengths: &[u8]) -> Vec<u32> {
    let mut next = first_codes(lengths);
    let code = |&length: &u8| {
        let code = next[usize::from(length)];
        next[usize::from(length)] += 1;
        reverse(code, length)
    };
    lengths.iter().map(code).collect()
}

/// By length, the first code.
fn first_codes(lengths: &[u8]) -> [u32; MAX_BITS as usize + 1] {
    let mut counts = [0u32; MAX_BITS as usize + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    let mut first = [0; MAX_BITS as usize + 1];
    let mut code = 0;
    for length in 1..=usize::from(MAX_BITS) {
        first[length] = code;
        code = (code + counts[length]) << 1;
    }
    first
}

const fn reverse(code: u32, length: u8) -> u32 {
    if length == 0 { 0 } else { code.reverse_bits() >> (32 - length) }
}

/// An entry of a table: a code, and its length above it.
const LENGTH_AT: u32 = 24;
/// A symbol without a code.
const NONE: u32 = u32::MAX;

/// Symbols to codes.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    table: Vec<u32>,
    others: HashMap<Symbol, u32>,
    escape: u32,
}

impl Codes {
    /// `lengths` has one for each symbol and, if there is an escape, one more.
    pub(super) fn new(symbols: &[Symbol], lengths: &[u8]) -> Self {
        let mut this = Self { table: vec![NONE; TABLE], others: HashMap::new(), escape: NONE };
        let entries = codes(lengths).into_iter().zip(lengths);
        let mut entries = entries.map(|(code, length)| u32::from(*length) << LENGTH_AT | code);
        for (&symbol, entry) in symbols.iter().zip(&mut entries) {
            match place(symbol) {
                Some(place) => this.table[place] = entry,
                None => _ = this.others.insert(symbol, entry),
            }
        }
        this.escape = entries.next().unwrap_or(NONE);
        this
    }

    #[inline(always)]
    fn entry(&self, symbol: Symbol) -> u32 {
        match place(symbol) {
            Some(place) => self.table[place],
            None => self.others.get(&symbol).copied().unwrap_or(NONE),
        }
    }

    /// Writes the code of a symbol, if there is one. Else writes the escape, and it is the caller's turn.
    #[inline(always)]
    pub(super) fn put(&self, symbol: Symbol, writer: &mut BitWriter<'_>) -> bool {
        let entry = self.entry(symbol);
        let found = entry != NONE;
        let entry = if found { entry } else { self.escape };
        writer.put((entry & ((1 << LENGTH_AT) - 1)).into(), entry >> LENGTH_AT);
        found
    }

    /// The codes of values of a byte, by that byte.
    pub(super) fn of_values(&self) -> [Code; 256] {
        std::array::from_fn(|byte| {
            Code(self.entry(Symbol { value: (byte as u8 as i8).into(), run: 1 }))
        })
    }

    /// The codes of runs of up to so many zeros, by their length; that of none has no bits.
    pub(super) fn of_zeros(&self, most: u32) -> Vec<Code> {
        let runs = (1..=most).map(|run| Code(self.entry(Symbol { value: 0, run })));
        std::iter::once(Code(0)).chain(runs).collect()
    }

    /// Bits of the code of a symbol; the escape's length, and `false`, for one without.
    pub(super) fn bits(&self, symbol: Symbol) -> (u32, bool) {
        let entry = self.entry(symbol);
        let found = entry != NONE;
        (if found { entry } else { self.escape } >> LENGTH_AT, found)
    }
}

/// The code of a symbol, if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code(u32);

impl Code {
    /// Writes codes of symbols that follow each other, three at most, if all have one; tells whether they do.
    #[inline(always)]
    pub(super) fn put_all<const N: usize>(codes: [Self; N], writer: &mut BitWriter<'_>) -> bool {
        if codes.iter().fold(false, |any, code| any | (code.0 == NONE)) {
            return false;
        }
        let (mut bits, mut count) = (0, 0);
        for Self(entry) in codes {
            bits |= u64::from(entry & ((1 << LENGTH_AT) - 1)) << count;
            count += entry >> LENGTH_AT;
        }
        writer.put(bits, count);
        true
    }
}

/// Bits of a table entry: the value in the low 32, then the run.
const RUN_AT: u32 = 32;
/// Then the length of the code.
const BITS_AT: u32 = 56;
/// RunLengths that fit.
const RUN_LIMIT: u32 = 1 << (BITS_AT - RUN_AT);
/// Length of entries that stand for something else.
const SPECIAL: u64 = 0xff;

/// Codes to symbols.
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    symbols: &'a [Symbol],
    /// By the first bits: a symbol, or [`SPECIAL`].
    table: Vec<u64>,
    /// Indices in the order of codes.
    order: Vec<u32>,
    /// By length: the first code, and the place of its index in `order`.
    first: [u32; MAX_BITS as usize + 1],
    start: [u32; MAX_BITS as usize + 2],
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coded {
    Symbol(Symbol),
    Escape,
}

impl<'a> Decoder<'a> {
    /// For a complete code; see [`Codes::new`].
    pub(super) fn new(symbols: &'a [Symbol], lengths: &[u8]) -> Self {
        let mut table = vec![SPECIAL << BITS_AT; 1 << FIRST_BITS];
        for (index, (code, &length)) in codes(lengths).into_iter().zip(lengths).enumerate() {
            if u32::from(length) > FIRST_BITS {
                continue;
            }
            let Some(symbol) = symbols.get(index).filter(|symbol| symbol.run < RUN_LIMIT) else {
                continue;
            };
            let entry = u64::from(length) << BITS_AT
                | u64::from(symbol.run) << RUN_AT
                | u64::from(symbol.value as u32);
            for place in table.iter_mut().skip(code as usize).step_by(1 << length) {
                *place = entry;
            }
        }
        let mut start = [0u32; MAX_BITS as usize + 2];
        for &length in lengths {
            start[usize::from(length) + 1] += 1;
        }
        for length in 0..=usize::from(MAX_BITS) {
            start[length + 1] += start[length];
        }
        let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
        order.sort_by_key(|&index| lengths[index as usize]);
        Self { symbols, table, order, first: first_codes(lengths), start }
    }

    /// The symbol that bits begin with and the length of its code, where that is at most as long as it says.
    #[inline(always)]
    fn first(&self, bits: usize, most: u32) -> Option<(Symbol, u32)> {
        let entry = self.table[bits & ((1 << FIRST_BITS) - 1)];
        let length = (entry >> BITS_AT) as u32;
        let run = (entry >> RUN_AT) as u32 & (RUN_LIMIT - 1);
        // Longer than any: also those that are special.
        (length <= most).then_some((Symbol { value: entry as u32 as i32, run }, length))
    }

    /// Takes a code.
    #[inline(always)]
    pub(super) fn take(&self, reader: &mut BitReader<'_>) -> Result<Coded> {
        reader.refill();
        let entry = self.table[reader.window() as usize & ((1 << FIRST_BITS) - 1)];
        let bits = (entry >> BITS_AT) as u32;
        if u64::from(bits) == SPECIAL {
            return self.take_special(reader);
        }
        reader.skip(bits);
        let run = (entry >> RUN_AT) as u32 & (RUN_LIMIT - 1);
        Ok(Coded::Symbol(Symbol { value: entry as u32 as i32, run }))
    }

    /// Long codes, escapes, enormous runs.
    #[cold]
    fn take_special(&self, reader: &mut BitReader<'_>) -> Result<Coded> {
        let window = (reader.window() as u32).reverse_bits();
        for length in 0..=MAX_BITS {
            let code = if length == 0 { 0 } else { window >> (32 - length) };
            let length = usize::from(length);
            let count = self.start[length + 1] - self.start[length];
            let Some(offset) = code.checked_sub(self.first[length]) else { continue };
            if offset < count {
                reader.skip(length as u32);
                let index = self.order[(self.start[length] + offset) as usize] as usize;
                return Ok(self.symbols.get(index).map_or(Coded::Escape, |s| Coded::Symbol(*s)));
            }
        }
        // A complete code has no such place.
        Err(malformed("a code that the codebook does not have"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::Random;

    fn check(weights: &[f64], escape: bool) {
        let symbols: Vec<Symbol> = (0..weights.len() - usize::from(escape))
            .map(|i| Symbol { value: i as i32 - 40, run: 1 + (i as u32 % 3) * 9_000_000 })
            .collect();
        let lengths = lengths(weights);
        assert!(is_complete(&lengths));
        let codes = Codes::new(&symbols, &lengths);
        let decoder = Decoder::new(&symbols, &lengths);
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        for &symbol in &symbols {
            assert!(codes.put(symbol, &mut writer));
        }
        if escape {
            assert!(!codes.put(Symbol { value: 1 << 20, run: 1 }, &mut writer));
        }
        writer.finish();
        let mut reader = BitReader::new(&bytes);
        for &symbol in &symbols {
            assert_eq!(decoder.take(&mut reader), Ok(Coded::Symbol(symbol)));
        }
        if escape {
            assert_eq!(decoder.take(&mut reader), Ok(Coded::Escape));
        }
        assert_eq!(reader.finish(), Ok(&[][..]));
    }

    #[test]
    fn codes_round_trip() {
        let random = Random::new(3);
        for escape in [false, true] {
            check(&[1.0, 1.0], escape);
            check(&[1.0; 5000], escape);
            check(&(0..60).map(|i| 0.4f64.powi(i)).collect::<Vec<_>>(), escape);
            check(&(0..3000).map(|i| random.uniform(i) + 1e-9).collect::<Vec<_>>(), escape);
        }
        check(&[3.0], false);
        check(&[3.0], true);
    }

    #[test]
    fn only_complete_codes_are_codes() {
        assert!(is_complete(&[1, 2, 2]) && is_complete(&[0]));
        for lengths in [&[][..], &[1], &[0, 1, 1], &[1, 2], &[1, 1, 1], &[21, 1]] {
            assert!(!is_complete(lengths), "{lengths:?}");
        }
    }
}
