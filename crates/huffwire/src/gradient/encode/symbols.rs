//! Symbols of run alphabets: how values are cut into the symbols that have codes.
//!
//! A symbol is a value and its number of repetitions. Alphabets differ in the runs that are one symbol: none, runs of
//! zeros alone, or all. So one counter, one codebook and one coder serve all alphabets.

use std::collections::HashMap;

use super::super::values::{Value, Values, with_values};
use super::{malformed, zigzag};
use crate::error::{Error, Result};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// The longest run of zeros that an alphabet may have a symbol for.
pub const MAX_RUNS: u32 = 1 << 16;

/// An alphabet: how values are cut into symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunAlphabet {
    /// A symbol is a single value.
    Values,
    /// A symbol is a value and its number of repetitions: the pairs of RLH.
    Pairs,
    /// A symbol is a run of up to this number of zeros (1 to [`MAX_RUNS`]), or another value: the symbols of SHS. A
    /// longer run is several symbols.
    ZeroRuns(u32),
}

/// A value and its number of repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Symbol {
    pub(super) value: i32,
    pub(super) run: u32,
}

impl Symbol {
    /// The order in codebooks: small magnitudes first, then short runs.
    pub(super) const fn key(self) -> (u32, u32) {
        (zigzag(self.value), self.run)
    }
}

impl RunAlphabet {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::ZeroRuns(runs) if !(1..=MAX_RUNS).contains(&runs) => Err(Error::option(format!(
                "symbols for runs of up to {runs} zeros; 1 to {MAX_RUNS} make sense"
            ))),
            _ => Ok(()),
        }
    }

    /// The number of the alphabet in streams.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Values => 0,
            Self::Pairs => 1,
            Self::ZeroRuns(runs) => 1 + runs,
        }
    }

    pub(super) fn from_number(number: u32) -> Result<Self> {
        let alphabet = match number {
            0 => Self::Values,
            1 => Self::Pairs,
            runs => Self::ZeroRuns(runs - 1),
        };
        alphabet.check().map_err(|_| malformed(format!("an alphabet of number {number}")))?;
        Ok(alphabet)
    }

    /// The longest run of this value that is one symbol.
    pub(super) const fn cap(self, value: i32) -> u32 {
        match self {
            Self::Values => 1,
            Self::Pairs => u32::MAX,
            Self::ZeroRuns(runs) => {
                if value == 0 {
                    runs
                } else {
                    1
                }
            }
        }
    }

    /// Cuts values into symbols.
    #[inline(always)]
    pub(super) fn cut<S: Value>(self, values: &[S], mut each: impl FnMut(Symbol)) {
        match self {
            Self::Values => {
                for &value in values {
                    each(Symbol { value: value.into(), run: 1 });
                }
            }
            Self::Pairs => pairs(values, |value, run| each(Symbol { value: value.into(), run })),
            Self::ZeroRuns(most) => {
                let zeros = |gap: usize, each: &mut dyn FnMut(Symbol)| {
                    zero_runs(gap, most, |run| each(Symbol { value: 0, run }));
                };
                let last = gaps(values, |gap, value| {
                    zeros(gap, &mut each);
                    each(Symbol { value: value.into(), run: 1 });
                });
                zeros(last, &mut each);
            }
        }
    }

    /// Counts symbols.
    pub(super) fn count(self, values: Values<'_>) -> Counts {
        let mut counts = Counts::default();
        counts.add(self, values);
        counts
    }
}

/// Number of values that are cut into pairs at a time, so that the length of a run fits 32 bits.
const PIECE: usize = 1 << 31;

/// Calls `each` with the value and the length of every run.
///
/// The places where runs begin are found for 64 values at once, as bits. A loop over the values of a run would
/// mispredict a branch at the end of nearly every run.
#[inline(always)]
pub(super) fn pairs<S: Value>(values: &[S], mut each: impl FnMut(S, u32)) {
    for values in values.chunks(PIECE) {
        let mut start = 0;
        let mut last = values[0];
        let mut base = 0;
        // `base` reaches the number of values, because a bit behind the last value ends the last run.
        while base <= values.len() {
            let rest = &values[base..];
            let mut padded;
            let part = match rest.first_chunk() {
                Some(part) => part,
                None => {
                    padded = [last; 64];
                    padded[..rest.len()].copy_from_slice(rest);
                    &padded
                }
            };
            let mut begins = S::changes(part, last);
            last = part[63];
            if rest.len() < 64 {
                begins = begins & ((1 << rest.len()) - 1) | 1 << rest.len();
            }
            while begins != 0 {
                let at = base + begins.trailing_zeros() as usize;
                begins &= begins - 1;
                each(values[start], (at - start) as u32);
                start = at;
            }
            base += 64;
        }
    }
}

/// Calls `each` with every value that is not 0 and the number of zeros before it. Returns the number of zeros behind
/// the last such value. It works as [`pairs`] does.
#[inline(always)]
pub(super) fn gaps<S: Value>(values: &[S], mut each: impl FnMut(usize, S)) -> usize {
    let mut start = 0;
    for base in (0..values.len()).step_by(64) {
        let rest = &values[base..];
        let mut padded;
        let part = match rest.first_chunk() {
            Some(part) => part,
            None => {
                padded = [S::default(); 64];
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        let mut others = S::others(part);
        while others != 0 {
            let place = others.trailing_zeros() as usize & 63;
            others &= others - 1;
            each(base + place - start, part[place]);
            start = base + place + 1;
        }
    }
    values.len() - start
}

/// Cuts a run of zeros into runs of at most `most`.
#[inline(always)]
pub(super) fn zero_runs(mut gap: usize, most: u32, mut each: impl FnMut(u32)) {
    while gap > most as usize {
        each(most);
        gap -= most as usize;
    }
    if gap > 0 {
        each(gap as u32);
    }
}

/// Number of runs of zeros that have a place in tables: those of up to this length.
pub(super) const TABLE_ZEROS: usize = 1 << 10;
/// Number of runs of each other value of a byte that have a place in tables.
pub(super) const TABLE_RUNS: usize = 8;
/// Number of places in a table.
pub(super) const TABLE: usize = TABLE_ZEROS + 256 * TABLE_RUNS;

/// The place of a symbol in tables; `None` for a symbol that has none.
#[inline(always)]
pub(super) fn place(symbol: Symbol) -> Option<usize> {
    let run = (symbol.run - 1) as usize;
    // Without a branch, since the processor cannot predict where zeros are.
    let is_zero = symbol.value == 0;
    let start = TABLE_ZEROS + usize::from(symbol.value as u8) * TABLE_RUNS;
    let start = if is_zero { 0 } else { start };
    let most = if is_zero { TABLE_ZEROS } else { TABLE_RUNS };
    let is_in = (run < most) & i8::try_from(symbol.value).is_ok();
    is_in.then_some(start + run)
}

/// The symbol at a place of a table; the inverse of [`place`].
fn symbol_at(place: usize) -> Symbol {
    match place.checked_sub(TABLE_ZEROS) {
        None => Symbol { value: 0, run: place as u32 + 1 },
        Some(place) => Symbol {
            value: ((place / TABLE_RUNS) as u8 as i8).into(),
            run: (place % TABLE_RUNS) as u32 + 1,
        },
    }
}

/// How often each symbol occurred.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    table: Vec<u64>,
    others: HashMap<Symbol, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { table: vec![0; TABLE], others: HashMap::new() }
    }
}

impl Counts {
    /// Adds the counts of the symbols of some values.
    pub(super) fn add(&mut self, alphabet: RunAlphabet, values: Values<'_>) {
        if let (RunAlphabet::Values, Values::I8(values)) = (alphabet, values) {
            for values in values.chunks(1 << 14) {
                let bytes: Vec<u8> = values.iter().map(|&value| value as u8).collect();
                let counts = bytes::histogram(Platform::detect(), &bytes);
                for (byte, count) in (0..=u8::MAX).zip(counts) {
                    let symbol = Symbol { value: (byte as i8).into(), run: 1 };
                    self.add_many(symbol, count.into());
                }
            }
            return;
        }
        with_values!(Values, values, values => match alphabet {
            RunAlphabet::Values => values.iter().for_each(|&value| self.add_value(value, 1)),
            RunAlphabet::Pairs => pairs(values, |value, run| self.add_value(value, run)),
            RunAlphabet::ZeroRuns(most) => {
                let zeros = |gap: usize, counts: &mut Self| {
                    zero_runs(gap, most, |run| counts.add_one(Symbol { value: 0, run }));
                };
                let last = gaps(values, |gap, value| {
                    zeros(gap, self);
                    self.add_value(value, 1);
                });
                zeros(last, self);
            }
        });
    }

    #[inline]
    pub(super) fn add_one(&mut self, symbol: Symbol) {
        self.add_many(symbol, 1);
    }

    #[inline(always)]
    fn add_value<S: Value>(&mut self, value: S, run: u32) {
        self.add_one(Symbol { value: value.into(), run });
    }

    #[inline(always)]
    fn add_many(&mut self, symbol: Symbol, count: u64) {
        match place(symbol) {
            Some(place) => self.table[place] += count,
            None => *self.others.entry(symbol).or_default() += count,
        }
    }

    /// The symbols that occurred and their counts, in the order of [`Symbol::key`].
    pub(super) fn sorted(&self) -> Vec<(Symbol, u64)> {
        let table = self.table.iter().enumerate().map(|(place, count)| (symbol_at(place), *count));
        let others = self.others.iter().map(|(symbol, count)| (*symbol, *count));
        let mut symbols: Vec<_> = table.chain(others).filter(|(_, count)| *count > 0).collect();
        symbols.sort_unstable_by_key(|(symbol, _)| symbol.key());
        symbols
    }

    /// Number of bits of an ideal code for these frequencies.
    pub(super) fn entropy_bits(&self) -> f64 {
        let all = || self.table.iter().chain(self.others.values()).filter(|count| **count > 0);
        let total: u64 = all().sum();
        let total = total as f64;
        all().map(|&count| count as f64 * (total / count as f64).log2()).sum()
    }
}

/// Shannon's bounds for some values: the bytes that an ideal order-0 code would take, without codebooks, for each way
/// of cutting values into symbols.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shannon {
    /// Each value is a symbol: the bound of [`Huffman`](super::Huffman) and [`Sh`](super::Sh).
    pub values: f64,
    /// Each value and its number of repetitions is a symbol: the bound of [`Rlh`](super::Rlh) and, over the same
    /// pairs, of [`Elias`](super::Elias).
    pub pairs: f64,
    /// Runs of up to 200 zeros, and other values, are symbols: the bound of [`Shs`](super::Shs).
    pub zero_runs: f64,
    /// Masks of which of eight neighbours are 0, and the other values, are symbols: the bound of a [`Bitmap`](super::Bitmap) of
    /// depth 1.
    pub bitmap: f64,
}

/// Shannon's bounds for some values, from counts of all symbols.
#[must_use]
pub fn shannon(values: Values<'_>) -> Shannon {
    let of = |alphabet: RunAlphabet| alphabet.count(values).entropy_bits() / 8.0;
    let [masks, others] = with_values!(Values, values, values => count_masks(values));
    Shannon {
        values: of(RunAlphabet::Values),
        pairs: of(RunAlphabet::Pairs),
        zero_runs: of(RunAlphabet::ZeroRuns(super::DEFAULT_RUNS)),
        bitmap: (masks.entropy_bits() + others.entropy_bits()) / 8.0,
    }
}

/// Counts masks of which of eight neighbours are 0, and the other values.
fn count_masks<S: Value>(values: &[S]) -> [Counts; 2] {
    let [mut masks, mut others] = [Counts::default(), Counts::default()];
    for eight in values.chunks(8) {
        let mut mask = 0;
        for (place, &value) in eight.iter().enumerate() {
            let value: i32 = value.into();
            if value != 0 {
                mask |= 1 << place;
                others.add_one(Symbol { value, run: 1 });
            }
        }
        masks.add_one(Symbol { value: mask, run: 1 });
    }
    [masks, others]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(alphabet: RunAlphabet, values: &[i32]) -> Vec<(i32, u32)> {
        let mut symbols = Vec::new();
        alphabet.cut(values, |symbol| symbols.push((symbol.value, symbol.run)));
        symbols
    }

    #[test]
    fn values_are_cut_as_the_alphabet_says() {
        let values = [0, 0, 0, 1, 1, -2, 0, 0, 0, 0, 0];
        assert_eq!(cut(RunAlphabet::Pairs, &values), [(0, 3), (1, 2), (-2, 1), (0, 5)]);
        let runs = [(0, 3), (1, 1), (1, 1), (-2, 1), (0, 4), (0, 1)];
        assert_eq!(cut(RunAlphabet::ZeroRuns(4), &values), runs);
        assert_eq!(cut(RunAlphabet::Values, &values).len(), 11);
    }

    #[test]
    fn places_and_symbols_are_inverse() {
        for place in (0..TABLE_ZEROS).chain(TABLE_ZEROS + TABLE_RUNS..TABLE) {
            assert_eq!(super::place(symbol_at(place)), Some(place));
        }
        assert_eq!(place(Symbol { value: 200, run: 1 }), None);
        assert_eq!(place(Symbol { value: 1, run: 9 }), None);
        assert_eq!(place(Symbol { value: 0, run: 5000 }), None);
    }

    #[test]
    fn shannon_of_what_can_be_known_by_heart() {
        let values: Vec<i8> = (0..8000).map(|i| (i % 2) as i8).collect();
        let bound = shannon((&values[..]).into());
        assert_eq!((bound.values, bound.pairs), (1000.0, 1000.0));
        assert_eq!(bound.bitmap, 0.0);
        assert_eq!(shannon((&[0i8; 0][..]).into()).values, 0.0);
    }
}
