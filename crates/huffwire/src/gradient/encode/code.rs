//! Canonical prefix codes over large alphabets, and the tables to encode and decode with them.
//!
//! The codebooks of [`crate::codebook`] have at most 256 symbols, because the lane coder's tables need that. Runs
//! need thousands of symbols, and codes of up to [`MAX_BITS`] bits. A code is written from its first bit on; since
//! bytes are filled from their lowest bit on, codes are kept reversed.

pub(super) mod multi_symbol;

use std::collections::HashMap;

use super::bits::{BitReader, BitWriter};
use super::symbols::{Symbol, TABLE, place};
use super::{malformed, too_long, unzigzag, zigzag};
use crate::error::Result;
use crate::huffman::{huffman_lengths, limited_lengths};

/// The length of the longest code.
pub(super) const MAX_BITS: u8 = 20;
/// The largest number of codes. With that many, the limit on lengths still costs next to nothing.
pub(super) const MAX_CODES: usize = 1 << 16;
/// Number of bits that the decoder looks up at once.
const FIRST_BITS: u32 = 11;

/// Optimal code lengths for positive weights. A single weight gets length 0.
pub(super) fn lengths(weights: &[f64]) -> Vec<u8> {
    let lengths = huffman_lengths(weights);
    if lengths.iter().all(|&length| length <= MAX_BITS) {
        return lengths;
    }
    // There are fewer than 2^MAX_BITS weights, so this is never `None`.
    limited_lengths(weights, MAX_BITS).unwrap_or(lengths)
}

/// Whether these are the lengths of a complete code. A single length must be 0.
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

/// The codes for these lengths, with reversed bits. Codes are consecutive numbers, by length and then by index.
fn codes(lengths: &[u8]) -> Vec<u32> {
    let mut next = first_codes(lengths);
    let code = |&length: &u8| {
        let code = next[usize::from(length)];
        next[usize::from(length)] += 1;
        reverse(code, length)
    };
    lengths.iter().map(code).collect()
}

/// The first code of each length.
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

/// In an entry of an encoding table, the place of the length, above the code.
const LENGTH_AT: u32 = 24;
/// The entry of a symbol without a code.
const NONE: u32 = u32::MAX;

/// The encoding tables: the code of each symbol.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    table: Vec<u32>,
    others: HashMap<Symbol, u32>,
    escape: u32,
}

impl Codes {
    /// `lengths` has an item for each symbol and, if there is an escape, one more.
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

    /// Writes the code of a symbol and returns `true`. If it has none, writes the escape and returns `false`; then the
    /// caller writes the symbol.
    #[inline(always)]
    pub(super) fn put(&self, symbol: Symbol, writer: &mut BitWriter<'_>) -> bool {
        let entry = self.entry(symbol);
        let found = entry != NONE;
        let entry = if found { entry } else { self.escape };
        writer.put((entry & ((1 << LENGTH_AT) - 1)).into(), entry >> LENGTH_AT);
        found
    }

    /// The codes of all values of one byte, by that byte.
    pub(super) fn of_values(&self) -> [Code; 256] {
        std::array::from_fn(|byte| {
            Code(self.entry(Symbol { value: (byte as u8 as i8).into(), run: 1 }))
        })
    }

    /// The codes of runs of 0 to `most` zeros, by the length of the run. The code of a run of 0 has no bits.
    pub(super) fn of_zeros(&self, most: u32) -> Vec<Code> {
        let runs = (1..=most).map(|run| Code(self.entry(Symbol { value: 0, run })));
        std::iter::once(Code(0)).chain(runs).collect()
    }

    /// The length of a symbol's code, and `true`; for a symbol without a code, the length of the escape, and `false`.
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
    /// Writes up to three codes, one after the other, if all symbols have one. Returns whether they do.
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

/// In an entry of a decoding table, the place of the run. The value has the bits below.
const RUN_AT: u32 = 32;
/// In an entry of a decoding table, the place of the code's length.
const BITS_AT: u32 = 56;
/// Runs from this length on do not fit an entry.
const RUN_LIMIT: u32 = 1 << (BITS_AT - RUN_AT);
/// The length in entries for long codes, for escapes, and for runs that do not fit.
const SPECIAL: u64 = 0xff;

/// The decoding tables: the symbol of each code.
#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    symbols: &'a [Symbol],
    /// By the first [`FIRST_BITS`] bits: a symbol, or [`SPECIAL`].
    table: Vec<u64>,
    /// Indices of symbols, in the order of their codes.
    order: Vec<u32>,
    /// For each length: the first code, and the place of its index in `order`.
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
    /// The tables for a complete code. Symbols and lengths are as in [`Codes::new`].
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

    /// The symbol that these bits begin with, and the length of its code, if that is at most `most`.
    #[inline(always)]
    fn first(&self, bits: usize, most: u32) -> Option<(Symbol, u32)> {
        let entry = self.table[bits & ((1 << FIRST_BITS) - 1)];
        let length = (entry >> BITS_AT) as u32;
        let run = (entry >> RUN_AT) as u32 & (RUN_LIMIT - 1);
        // The length of special entries is larger than any `most`.
        (length <= most).then_some((Symbol { value: entry as u32 as i32, run }, length))
    }

    /// Takes the next code.
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

    /// Takes a long code, an escape, or a code for a run that does not fit an entry.
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
        // A complete code never comes here.
        Err(malformed("a code that the codebook does not have"))
    }
}

/// Writes the symbol behind an escape.
#[cold]
pub(super) fn put_escaped(symbol: Symbol, writer: &mut BitWriter<'_>) {
    writer.put_gamma(zigzag(symbol.value));
    writer.put_gamma(symbol.run - 1);
}

/// Takes the symbol behind an escape.
#[cold]
pub(super) fn take_escaped(reader: &mut BitReader<'_>) -> Result<Symbol> {
    let value = unzigzag(reader.take_gamma()?);
    let run = reader.take_gamma()?.checked_add(1).ok_or_else(too_long)?;
    Ok(Symbol { value, run })
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
