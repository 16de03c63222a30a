//! Magnitudes of differences: how much a word moves, when it moves.

use std::sync::OnceLock;

use super::model::LEVELS;
use super::rans::{Decoder, Divided, Interval};
use super::tables::{FIRST_ROW, ROWS};

/// Bits of the probabilities of symbols, and of the sign above them.
const BITS: u32 = 14;
const WITH_SIGN: u32 = BITS + 1;

/// Bits of a magnitude that are coded at once.
const PIECE: u32 = 16;

/// Most symbols: those of words of 64 bits.
const SYMBOLS: usize = 126;

/// Costs are in 1/256 bits.
pub(super) const COST_BITS: u32 = 8;

/// Distribution of the magnitudes at a level.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Where the interval of each symbol begins; behind the last one `2^14`.
    starts: [u16; SYMBOLS + 1],
    /// The interval of each symbol, for the encoder: that of positive differences.
    divided: [Divided; SYMBOLS],
    /// The information of each symbol, in 1/256 bits.
    pub(super) costs: [u16; SYMBOLS],
}

/// Number of symbols for words of so many bytes: 0 to 3 are magnitudes less 1, then there are two an octave.
pub(super) const fn symbols(word_bytes: usize) -> usize {
    16 * word_bytes - 2
}

/// The symbol of a difference, and how many low bits of its magnitude are coded apart.
#[inline(always)]
pub(super) const fn symbol(difference: i64) -> (usize, u32) {
    let above = difference.unsigned_abs() - 1;
    if above < 4 {
        return (above as usize, 0);
    }
    let top = 63 - above.leading_zeros();
    let low = top - 1;
    (4 + 2 * (top as usize - 2) + (above >> low & 1) as usize, low)
}

impl Row {
    /// The row of a level, for words with so many symbols. Each symbol has a size of at least 1.
    fn new(level: usize, symbols: usize) -> Self {
        let weights = weights(level);
        let total: u64 = weights[..symbols].iter().sum();
        let room = (1u64 << BITS) - symbols as u64;
        let mut sizes = [0u16; SYMBOLS];
        for (size, weight) in sizes[..symbols].iter_mut().zip(weights) {
            *size = 1 + (weight * room / total) as u16;
        }
        let sum: u16 = sizes.iter().sum();
        // The first one of the largest takes what was rounded off.
        let largest = sizes[..symbols].iter().max().copied().unwrap_or(0);
        if let Some(size) = sizes.iter_mut().find(|size| **size == largest) {
            *size += (1 << BITS) - sum;
        }
        let (mut starts, mut costs) = ([1 << BITS; SYMBOLS + 1], [0; SYMBOLS]);
        let mut divided = [Divided::new(Interval { start: 0, size: 1, bits: WITH_SIGN }); SYMBOLS];
        let mut start = 0;
        for (symbol, size) in sizes[..symbols].iter().enumerate() {
            let interval = Interval { start: start.into(), size: (*size).into(), bits: WITH_SIGN };
            starts[symbol] = start;
            divided[symbol] = Divided::new(interval);
            costs[symbol] = cost(*size);
            start += size;
        }
        Self { starts, divided, costs }
    }

    /// The interval of the symbol of a difference, and how many low bits of its magnitude are coded apart.
    #[inline(always)]
    pub(super) fn divided(&self, difference: i64) -> (Divided, u32) {
        let (symbol, low) = symbol(difference);
        (self.divided[symbol].moved(u32::from(difference < 0) << BITS), low)
    }

    /// The symbol that is next in a chain.
    #[inline(always)]
    pub(super) fn symbol(&self, chain: &Decoder<'_>) -> usize {
        let slot = chain.peek(BITS) as u16;
        // Nearly all symbols are among the first ones, among which the processor has nothing to guess.
        let first = self.starts[1..].first_chunk::<4>().copied().unwrap_or_default();
        let mut symbol: usize = first.map(|start| usize::from(start <= slot)).iter().sum();
        while symbol >= first.len() && self.starts[symbol + 1] <= slot {
            symbol += 1;
        }
        symbol
    }

    /// Takes this symbol off a chain. Returns whether the difference is negative.
    #[inline(always)]
    pub(super) fn take(&self, symbol: usize, chain: &mut Decoder<'_>) -> bool {
        let [start, end] = [self.starts[symbol], self.starts[symbol + 1]].map(u32::from);
        let sign = chain.peek(WITH_SIGN) & 1 << BITS;
        chain.take(Interval { start: sign + start, size: end - start, bits: WITH_SIGN });
        sign != 0
    }
}

/// Takes the low bits of the magnitude with this symbol off a chain. Returns the difference.
#[inline(always)]
pub(super) fn take_low_bits(symbol: usize, negative: bool, chain: &mut Decoder<'_>) -> i64 {
    let mut above = symbol as u64;
    if symbol >= 4 {
        let low = 1 + (symbol as u32 - 4) / 2;
        let (mut bits, mut got) = (0, 0);
        while got < low {
            let piece = (low - got).min(PIECE);
            let start = chain.peek(piece);
            chain.take(Interval { start, size: 1, bits: piece });
            bits |= u64::from(start) << got;
            got += piece;
        }
        above = (2 | above & 1) << low | bits;
    }
    let magnitude = above.wrapping_add(1) as i64;
    if negative { magnitude.wrapping_neg() } else { magnitude }
}

/// The intervals of so many low bits of the magnitude of a difference.
pub(super) fn low_bits(difference: i64, bits: u32) -> impl Iterator<Item = Divided> {
    let above = difference.unsigned_abs() - 1;
    (0..bits).step_by(PIECE as usize).map(move |from| {
        let bits = (bits - from).min(PIECE);
        let start = (above >> from & ((1 << bits) - 1)) as u32;
        Divided::new(Interval { start, size: 1, bits })
    })
}

/// The rows of all levels, for words of so many bytes.
pub(super) fn rows(word_bytes: usize) -> &'static [Row] {
    static ROWS: [OnceLock<Vec<Row>>; 4] = [const { OnceLock::new() }; 4];
    let rows = &ROWS[word_bytes.trailing_zeros() as usize];
    rows.get_or_init(|| (0..LEVELS).map(|level| Row::new(level, symbols(word_bytes))).collect())
}

/// How often the symbols occur, by the table; an octave above its end everything moves up by an octave.
fn weights(level: usize) -> [u64; SYMBOLS] {
    let mut weights = [0; SYMBOLS];
    let Some(place) = level.checked_sub(FIRST_ROW) else {
        weights[0] = 1;
        return weights;
    };
    let octaves = place.saturating_sub(ROWS.len() - 1).div_ceil(4);
    for (weight, row) in weights.iter_mut().zip(ROWS[place - 4 * octaves]) {
        *weight = u64::from(row) << octaves;
    }
    for _ in 0..octaves {
        let before = weights;
        weights[4..].copy_from_slice(&before[2..SYMBOLS - 2]);
        (weights[2], weights[3]) = (before[1] / 2, before[1] / 2);
        (weights[0], weights[1]) = (before[0] / 2, before[0] / 2);
    }
    weights
}

/// The information of a symbol of this size, in 1/256 bits: by squaring, a bit at a time.
fn cost(size: u16) -> u16 {
    let top = 15 - size.leading_zeros();
    let mut log = top << COST_BITS;
    // size / 2^top, from 1 up to 2, in units of 2^-31
    let mut fraction = u64::from(size) << (31 - top);
    for bit in (0..COST_BITS).rev() {
        fraction = (fraction * fraction) >> 31;
        if fraction >> 32 != 0 {
            fraction >>= 1;
            log |= 1 << bit;
        }
    }
    ((BITS << COST_BITS) - log) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sparse::rans;
    use proptest::prelude::*;

    #[test]
    fn rows_are_complete() {
        for bytes in [1, 2, 4, 8] {
            assert_eq!(rows(bytes).len(), LEVELS);
            for row in rows(bytes) {
                let starts = &row.starts[..=symbols(bytes)];
                assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
                assert_eq!((starts[0], starts[symbols(bytes)]), (0, 1 << BITS));
            }
        }
    }

    /// Rounding does not change the mean: what all words move together is what the steps add.
    #[test]
    fn words_move_as_far_as_steps_do() {
        for level in FIRST_ROW..60 {
            let weights = weights(level);
            let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
            let mean = |symbol: usize| match symbol {
                ..4 => symbol as f64 + 1.0,
                _ => f64::exp2(((symbol - 4) / 2) as f64) * (2.0 + (symbol & 1) as f64 + 0.5) * 2.0,
            };
            let moved: f64 = (0..SYMBOLS).map(|s| mean(s) * weights[s] as f64 / total).sum();
            let hazard = f64::from(crate::delta::sparse::model::ticks(level as u8)) / 8192.0;
            let changed = 1.0 - (-hazard).exp2();
            let step = ((level as f64 - 54.0) / 4.0).exp2();
            assert!((changed * moved / step - 1.0).abs() < 0.04, "{level}: {changed} {moved}");
        }
    }

    #[test]
    fn costs_are_logarithms() {
        for size in 1..=1u16 << BITS {
            let exact = (f64::from(BITS) - f64::from(size).log2()) * 256.0;
            assert!((f64::from(cost(size)) - exact).abs() < 1.5, "{size}");
        }
    }

    /// Where the table ends rows go on as it would: the middle moves up by an octave in four levels.
    #[test]
    fn rows_above_the_table_are_those_below_moved_up() {
        let middle = |level: usize| {
            let starts = rows(8)[level].starts;
            starts.iter().position(|start| *start >= 1 << (BITS - 1)).unwrap()
        };
        for level in FIRST_ROW + ROWS.len() - 8..LEVELS - 4 {
            // Each symbol has a share, however rare it is, which moves the middle a little.
            assert!((middle(level) + 2).abs_diff(middle(level + 4)) <= 1, "{level}");
        }
    }

    proptest! {
        #[test]
        fn differences_come_back(
            differences in prop::collection::vec((any::<i64>(), 0u32..64, 0..LEVELS), 1..100),
            log2 in 0usize..4,
        ) {
            let word_bytes = 1 << log2;
            let unused = 64 - 8 * word_bytes as u32;
            let rows = rows(word_bytes);
            let differences: Vec<(i64, usize)> = differences
                .into_iter()
                .map(|(wide, shift, level)| ((wide >> shift) << unused >> unused, level))
                .filter(|(difference, _)| *difference != 0)
                .collect();
            let mut intervals = Vec::new();
            for &(difference, level) in &differences {
                prop_assert!(symbol(difference).0 < symbols(word_bytes));
                let (symbol, low) = rows[level].divided(difference);
                intervals.push(symbol);
                intervals.extend(low_bits(difference, low));
            }
            let mut encoders = [rans::Encoder::new()];
            rans::encode(&[&intervals], &mut encoders);
            let words = encoders[0].words().iter();
            let words: Vec<[u8; 4]> = words.rev().map(|word| word.to_le_bytes()).collect();
            let mut chain = Decoder::new(encoders[0].state, &words).unwrap();
            for &(difference, level) in &differences {
                let symbol = rows[level].symbol(&chain);
                let negative = rows[level].take(symbol, &mut chain);
                prop_assert_eq!(take_low_bits(symbol, negative, &mut chain), difference);
            }
            prop_assert!(chain.finish().is_ok());
        }
    }
}
