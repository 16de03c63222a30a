//! Fitting: from a PMF to the code lengths of a codebook.
//!
//! Which symbols get a code of their own and which share the escape is decided by cost: some
//! optimum gives codes to the k most probable symbols, so every k is priced. The lengths come from
//! the algorithms of [`crate::huffman`].

use super::lengths::{
    Alphabet, CodeLimit, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths, WINDOW, ZERO_SLOT,
};
use crate::error::{Error, Result};
use crate::huffman::{ascending, narrow_lengths, package_merge};
use crate::stats::Pmf;

/// Effort of the search for the symbols that share the escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Price every number of escaped symbols: for books that are kept.
    Exhaustive,
    /// A few numbers, by rules of thumb: for planes of any shape.
    Careful,
    /// One number, by a rule of thumb: for books that are made while a block is encoded.
    Quick,
}

/// A fitted book, with its cost for the PMF that it was fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// The content of the codebook.
    pub lengths: Lengths,
    /// Bits per symbol of this book, escapes included.
    pub bits: f64,
    /// Bits per symbol of an unrestricted Huffman code. The limit and the escape cost the
    /// difference.
    pub huffman_bits: f64,
    /// The symbol of the PMF that slot 0 stands for: 0 unless the book is centred.
    pub base: u8,
}

impl Fitted {
    /// Cost of the limit and the escape, in percent of the bits of an unrestricted Huffman code.
    #[must_use]
    pub fn overhead_percent(&self) -> f64 {
        if self.huffman_bits > 0.0 { 100.0 * (self.bits / self.huffman_bits - 1.0) } else { 0.0 }
    }
}

/// Builds the best book for symbols `0 .. 2^width`.
///
/// # Errors
/// [`Error::InvalidCodebook`] when the PMF does not have `2^width` symbols.
pub fn plain(pmf: &Pmf, width: u8, limit: CodeLimit, effort: Effort) -> Result<Fitted> {
    let p = pmf.probabilities();
    let alphabet = Alphabet::Plain { width };
    if !(1..=8).contains(&width) || p.len() != alphabet.symbols() {
        return Err(Error::codebook(format!("a PMF of {} symbols for {width} bits", p.len())));
    }
    let code = best_code(p, 0.0, false, limit, effort);
    let code = code.ok_or_else(|| Error::codebook("no code fits the limit"))?;
    let mut direct = vec![0; p.len()];
    for &(symbol, length) in &code.direct {
        direct[symbol] = length;
    }
    let lengths = Lengths::new(alphabet, limit, &direct, code.escape, 0)?;
    Ok(Fitted { lengths, bits: code.bits, huffman_bits: pmf.huffman_bits(), base: 0 })
}

/// Builds the best book for exponents relative to a centre.
///
/// `pmf` has 257 symbols: exponent distances modulo 256 (any rotation, only the shape matters), and
/// at index 256 the exact zero. A zero symbol is part of the book when its probability is not 0.
///
/// # Errors
/// [`Error::InvalidCodebook`] when the PMF does not have 257 symbols.
pub fn centred(pmf: &Pmf, limit: CodeLimit, effort: Effort) -> Result<Fitted> {
    let p = pmf.probabilities();
    let &[ref exponents @ .., zero] = p else {
        return Err(Error::codebook("an empty PMF"));
    };
    if exponents.len() != 256 {
        return Err(Error::codebook(format!("a PMF of {} symbols instead of 257", p.len())));
    }
    let start = best_window(exponents);
    let window: Vec<f64> = (0..WINDOW).map(|slot| exponents[(start + slot) % 256]).collect();
    let outside = (1.0 - zero - window.iter().sum::<f64>()).max(0.0);
    let mut weights = window;
    if outside + zero >= 1.0 {
        // Zeros and nothing else: some exponent must have a code all the same.
        weights[WINDOW / 2] = f64::MIN_POSITIVE;
    }
    if zero > 0.0 {
        weights.push(zero);
    }
    let code = best_code(&weights, outside, true, limit, effort);
    let code = code.ok_or_else(|| Error::codebook("no code fits the limit"))?;
    let mut by_slot = [0; ZERO_SLOT + 1];
    for &(index, length) in &code.direct {
        by_slot[if index == WINDOW { ZERO_SLOT } else { index }] = length;
    }
    let direct = &by_slot[..ESCAPE_SLOT];
    let lengths = Lengths::new(Alphabet::Centred, limit, direct, code.escape, by_slot[ZERO_SLOT])?;
    let huffman_bits = pmf.huffman_bits();
    Ok(Fitted { lengths, bits: code.bits, huffman_bits, base: start as u8 })
}

/// Start of the window of 62 neighbouring exponents (modulo 256) with the most mass; among equals
/// the one that has the mode nearest to its middle.
fn best_window(exponents: &[f64]) -> usize {
    let mode = (0..256).max_by(|&a, &b| exponents[a].total_cmp(&exponents[b])).unwrap_or(0);
    // Masses before an exponent, going round once more: a window is the difference of two.
    let mut before = [0.0; 256 + WINDOW + 1];
    for i in 0..256 + WINDOW {
        before[i + 1] = before[i] + exponents[i % 256];
    }
    let mass = |start: usize| before[start + WINDOW] - before[start];
    // From the middle outwards; a rival must win by more than rounding noise.
    let middle = (mode + 256 - WINDOW / 2) % 256;
    let starts =
        (0..WINDOW / 2).flat_map(|d| [middle + 256 - d, middle + d]).map(|start| start % 256);
    let mut best = (middle, mass(middle));
    for start in starts {
        let candidate = mass(start);
        if candidate > best.1 + 1e-9 {
            best = (start, candidate);
        }
    }
    best.0
}

struct Code {
    /// (index into the weights, code length) of each symbol with a code of its own.
    direct: Vec<(usize, u8)>,
    escape: u8,
    bits: f64,
}

/// The cheapest code: tries how many of the heaviest symbols get codes of their own, while the rest
/// and `outside` (mass that has no symbol here) take the escape.
fn best_code(
    weights: &[f64],
    outside: f64,
    centred: bool,
    limit: CodeLimit,
    effort: Effort,
) -> Option<Code> {
    let narrow = centred && limit == CodeLimit::Bits8;
    let heaviest_first: Vec<usize> = ascending(weights).into_iter().rev().collect();
    let all = heaviest_first.len();
    // A centred book always has an escape, since exponents outside its window exist.
    let complete = !centred && all == weights.len();
    // The zero symbol of a centred book (index WINDOW) is kept at any price: with it goes the
    // compaction of the raw plane, which the code lengths do not show.
    let zero = weights.len() > WINDOW && centred;
    let mut best: Option<Code> = None;
    // Next to the zero there must be an exponent, or there would be nothing to write down.
    let least = if zero { 2 } else { 1 };
    for k in direct_counts(&heaviest_first, weights, limit, effort) {
        let k = k.max(least).min(all);
        let mut chosen: Vec<usize> = heaviest_first[..k].to_vec();
        if zero && !chosen.contains(&WINDOW) {
            // Lighter than all before it, hence still in order.
            chosen.pop();
            chosen.push(WINDOW);
        }
        let mass: f64 = chosen.iter().map(|&i| weights[i]).sum();
        let total: f64 = weights.iter().sum::<f64>() + outside;
        let escaped = (total - mass).max(0.0);
        let needs_escape = !(complete && k == all);
        let mut items: Vec<(Option<usize>, f64)> =
            chosen.iter().map(|&i| (Some(i), weights[i])).collect();
        if needs_escape {
            // An escape that was never seen must still have a code; the smallest weight gets it
            // one of the longest.
            let escaped = escaped.max(f64::MIN_POSITIVE);
            items.insert(items.partition_point(|item| item.1 > escaped), (None, escaped));
        }
        let descending: Vec<f64> = items.iter().map(|item| item.1).collect();
        let lengths = if narrow {
            narrow_lengths(&descending)
        } else {
            let sorted: Vec<f64> = descending.iter().rev().copied().collect();
            package_merge(&sorted, limit.bits()).map(|l| l.into_iter().rev().collect())
        };
        let Some(lengths) = lengths else { continue };
        let mut code = Code { direct: Vec::with_capacity(k), escape: 0, bits: 0.0 };
        for (&(index, weight), &length) in items.iter().zip(&lengths) {
            code.bits += weight * f64::from(length);
            match index {
                Some(index) => code.direct.push((index, length)),
                None => code.escape = length,
            }
        }
        if needs_escape {
            code.bits += escaped * ESCAPE_RAW_BITS as f64;
        }
        if best.as_ref().is_none_or(|best| code.bits < best.bits) {
            best = Some(code);
        }
    }
    best
}

/// The numbers of directly coded symbols worth pricing.
fn direct_counts(
    heaviest_first: &[usize],
    weights: &[f64],
    limit: CodeLimit,
    effort: Effort,
) -> Vec<usize> {
    let all = heaviest_first.len();
    if effort == Effort::Exhaustive {
        return (1..=all).collect();
    }
    // A code of its own costs a symbol of probability `p` at most `limit` bits, and all others the code space
    // `2^-limit`, worth `2^-limit / ln 2` bits; by the escape it costs some `limit + 8` bits. They are
    // equal near `p = 2^-limit / 5`.
    let total: f64 = weights.iter().sum();
    let at_least = |bits: u8| {
        let least = total * 0.5f64.powi(bits.into());
        heaviest_first.iter().filter(|&&i| weights[i] >= least).count().max(1).min(all)
    };
    let mut counts = vec![at_least(limit.bits() + 2)];
    if effort == Effort::Careful {
        counts.push(at_least(limit.bits()));
        counts.extend(Some(all).filter(|all| *all <= FEW_SYMBOLS));
        counts.sort_unstable();
        counts.dedup();
    }
    counts
}

/// Up to this number of symbols a code for each of them is worth trying.
const FEW_SYMBOLS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_symbol_needs_no_code_and_gets_an_escape_beside_it() {
        assert_eq!(crate::huffman::huffman_lengths(&[0.0, 3.0]), [0, 0]);
        let pmf = Pmf::from_weights(&[0.0, 1.0, 0.0, 0.0]).unwrap();
        let fitted = plain(&pmf, 2, CodeLimit::Bits8, Effort::Exhaustive).unwrap();
        assert_eq!(fitted.lengths.ordinary_lengths(), [0, 1, 0, 0]);
        assert_eq!(fitted.lengths.escape(), 1);
    }

    #[test]
    fn rare_symbols_take_the_escape_when_that_is_cheaper() {
        let mut w = vec![1e-6; 256];
        w[7] = 0.5;
        w[9] = 0.5;
        let pmf = Pmf::from_weights(&w).unwrap();
        let short = plain(&pmf, 8, CodeLimit::Bits8, Effort::Exhaustive).unwrap();
        assert!(short.lengths.escape() > 0 && short.bits < 1.6, "{}", short.bits);
        let quick = plain(&pmf, 8, CodeLimit::Bits8, Effort::Quick).unwrap();
        assert!(quick.bits <= short.bits + 0.1);
    }

    #[test]
    fn a_centred_book_puts_the_mass_in_its_window_wherever_it_lies() {
        for shift in [0, 100, 250] {
            let mut w = vec![0.0; 257];
            for d in 0..20 {
                w[(shift + d) % 256] = 0.5f64.powi((d as i32 - 12).abs());
            }
            w[256] = 1.0;
            let pmf = Pmf::from_weights(&w).unwrap();
            let fitted = centred(&pmf, CodeLimit::Bits8, Effort::Exhaustive).unwrap();
            assert!(fitted.lengths.is_narrow() && fitted.lengths.zero() > 0);
            assert!(fitted.bits < fitted.huffman_bits * 1.02, "{fitted:?}");
            assert_eq!(fitted.lengths.origin(), 31, "the mode sits in the middle of the window");
        }
    }
}
