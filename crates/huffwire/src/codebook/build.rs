//! From a PMF to optimal code lengths.
//!
//! Three exact algorithms, each for the constraint it fits:
//! * [`huffman_lengths`], no limit (Huffman 1952, in its two-queue form): the baseline of reports;
//! * [`limited_lengths`], a limit on the length: package-merge (Larmore and Hirschberg, "A fast
//!   algorithm for optimal length-limited Huffman codes", 1990);
//! * `narrow_lengths`, a limit of 8 bits *and* at most a quarter of the code space under codes of
//!   over 6 bits: dynamic programming over (length, symbols placed, code space used).
//!
//! Which symbols get a code of their own and which share the escape is decided by cost: some
//! optimum gives codes to the k most probable symbols, so every k is priced.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::lengths::{
    Alphabet, CodeLimit, ESCAPE_RAW_BITS, ESCAPE_SLOT, Lengths, WINDOW, ZERO_SLOT,
};
use crate::error::{Error, Result};
use crate::pmf::Pmf;

/// Code lengths of an unrestricted Huffman code; 0 for symbols of weight 0, and for a lone symbol.
#[must_use]
pub fn huffman_lengths(weights: &[f64]) -> Vec<u8> {
    let order = ascending(weights);
    let n = order.len();
    let mut lengths = vec![0; weights.len()];
    if n < 2 {
        return lengths;
    }
    // Leaves 0..n in ascending weight, inner nodes n.. in the order of their making, which is
    // ascending too: the two lightest nodes are always at the heads of the two queues.
    let mut weight: Vec<f64> = order.iter().map(|&symbol| weights[symbol]).collect();
    let mut parent = vec![0; 2 * n - 1];
    let (mut leaf, mut inner) = (0, n);
    for node in n..2 * n - 1 {
        let mut take_lightest = || {
            let take_leaf = leaf < n && (inner >= node || weight[leaf] <= weight[inner]);
            let queue = if take_leaf { &mut leaf } else { &mut inner };
            *queue += 1;
            *queue - 1
        };
        let (a, b) = (take_lightest(), take_lightest());
        weight.push(weight[a] + weight[b]);
        parent[a] = node;
        parent[b] = node;
    }
    let mut depth = vec![0u8; 2 * n - 1];
    for node in (0..2 * n - 2).rev() {
        depth[node] = depth[parent[node]].saturating_add(1);
    }
    for (leaf, &symbol) in order.iter().enumerate() {
        lengths[symbol] = depth[leaf];
    }
    lengths
}

/// Optimal code lengths of at most `limit` bits by package-merge; 0 for symbols of weight 0.
/// `None` when fewer than two symbols have weight, or more than `2^limit`.
#[must_use]
pub fn limited_lengths(weights: &[f64], limit: u8) -> Option<Vec<u8>> {
    let order = ascending(weights);
    let sorted: Vec<f64> = order.iter().map(|&symbol| weights[symbol]).collect();
    let depths = package_merge(&sorted, limit)?;
    let mut lengths = vec![0; weights.len()];
    for (&symbol, depth) in order.iter().zip(depths) {
        lengths[symbol] = depth;
    }
    Some(lengths)
}

/// Bits per symbol of an unrestricted Huffman code times the sum of the weights: every inner node of its tree adds
/// its weight.
#[must_use]
pub fn huffman_bits(weights: &[f64]) -> f64 {
    let positive = weights.iter().filter(|&&weight| weight > 0.0);
    let mut leaves: Vec<u64> = positive.map(|weight| weight.to_bits()).collect();
    // Positive numbers are in the order of their bits.
    leaves.sort_unstable();
    let mut leaves = leaves.into_iter().map(f64::from_bits).peekable();
    let mut inner = VecDeque::with_capacity(leaves.len());
    let mut bits = 0.0;
    loop {
        let mut lightest = || match (leaves.peek(), inner.front()) {
            (Some(leaf), Some(node)) if leaf > node => inner.pop_front(),
            (None, _) => inner.pop_front(),
            _ => leaves.next(),
        };
        let (Some(a), Some(b)) = (lightest(), lightest()) else { return bits };
        bits += a + b;
        inner.push_back(a + b);
    }
}

/// Symbols of positive weight, lightest first; ties by symbol, so that the result is unique.
fn ascending(weights: &[f64]) -> Vec<usize> {
    let weights = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    // Positive numbers are in the order of their bits.
    let mut order: Vec<_> = weights.map(|(s, weight)| (weight.to_bits(), Reverse(s))).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, Reverse(symbol))| symbol).collect()
}

/// Package-merge over weights in ascending order.
///
/// Level by level, from the longest codes to the shortest, pairs of neighbours of the last list
/// become packages and are merged with the leaves. The first `2n - 2` items of the final list are
/// the optimum; a symbol's length is the number of lists in which its leaf is among those taken.
/// Only "leaf or package" needs remembering, because both are taken in order: by leaf, how many packages
/// lie before it.
fn package_merge(sorted: &[f64], limit: u8) -> Option<Vec<u8>> {
    let n = sorted.len();
    // A limit may be larger than a `usize` has bits.
    if n < 2 || 1usize.checked_shl(limit.into()).is_some_and(|most| n > most) {
        return None;
    }
    let mut places: Vec<u32> = vec![0; n * usize::from(limit)];
    let mut list: Vec<f64> = Vec::with_capacity(2 * n);
    let mut packages: Vec<f64> = Vec::with_capacity(n + 1);
    for places in places.chunks_exact_mut(n) {
        packages.clear();
        packages.extend(list.as_chunks::<2>().0.iter().map(|[a, b]| a + b));
        // What ends the packages, so that no leaf has to ask whether there is one.
        packages.push(f64::INFINITY);
        list.clear();
        let mut package = 0;
        for (&leaf, place) in sorted.iter().zip(places) {
            while packages[package] < leaf {
                list.push(packages[package]);
                package += 1;
            }
            *place = package as u32;
            list.push(leaf);
        }
        list.extend_from_slice(&packages[package..packages.len() - 1]);
    }
    let mut lengths = vec![0; n];
    let mut taken = 2 * n - 2;
    for places in places.chunks_exact(n).rev() {
        // Leaf `i` lies behind `i` leaves and so many packages.
        let places = places.iter().enumerate();
        let leaves = places.take_while(|(leaf, package)| leaf + (**package as usize) < taken);
        let leaves = leaves.count();
        for length in &mut lengths[..leaves] {
            *length += 1;
        }
        taken = 2 * (taken - leaves);
    }
    Some(lengths)
}

/// Optimal code lengths under the rule of narrow books: at most 8 bits, and codes of more than 6
/// bits take at most a quarter of the code space. `descending` are the weights, heaviest first;
/// `None` when fewer than two or more than 64 are given.
///
/// In an optimum a heavier symbol never has the longer code, so the lengths are a non-decreasing
/// sequence: place the symbols in order, and price every (length, symbols placed, space used in
/// 256ths). The rule then is a condition on one transition: on leaving length 6, at least 192/256
/// must be in use.
///
/// That is a quarter of a million steps, which are not needed where the best of all codes of at most 8 bits
/// happens to keep the rule: nothing that keeps it can be better.
fn narrow_lengths(descending: &[f64]) -> Option<Vec<u8>> {
    const LIMIT: usize = 8;
    const SPACE: usize = 1 << LIMIT;
    let n = descending.len();
    if !(2..=64).contains(&n) {
        return None;
    }
    let ascending: Vec<f64> = descending.iter().rev().copied().collect();
    let mut lengths = package_merge(&ascending, LIMIT as u8)?;
    lengths.reverse();
    let long = lengths.iter().filter(|&&length| length > 6);
    if long.map(|length| SPACE >> length).sum::<usize>() <= SPACE / 4 {
        return Some(lengths);
    }
    let state = |placed: usize, used: usize| placed * (SPACE + 1) + used;
    let mut cost = vec![f64::INFINITY; (n + 1) * (SPACE + 1)];
    cost[state(0, 0)] = 0.0;
    // placed_at[length][state]: the last symbol of the best way to this state has this length.
    let mut placed_at = vec![vec![false; cost.len()]; LIMIT + 1];
    for (length, placed_here) in placed_at.iter_mut().enumerate().skip(1) {
        let width = SPACE >> length;
        if length == 7 {
            for placed in 0..n {
                cost[state(placed, 0)..state(placed, 3 * SPACE / 4)].fill(f64::INFINITY);
            }
        }
        for placed in 0..n {
            let price = descending[placed] * length as f64;
            for used in 0..=SPACE - width {
                let next = state(placed + 1, used + width);
                let candidate = cost[state(placed, used)] + price;
                if candidate < cost[next] {
                    cost[next] = candidate;
                    placed_here[next] = true;
                }
            }
        }
    }
    if !cost[state(n, SPACE)].is_finite() {
        return None;
    }
    let mut lengths = vec![0; n];
    let (mut placed, mut used, mut length) = (n, SPACE, LIMIT);
    while placed > 0 {
        if placed_at[length][state(placed, used)] {
            placed -= 1;
            used -= SPACE >> length;
            lengths[placed] = length as u8;
        } else {
            length -= 1;
        }
    }
    Some(lengths)
}

/// How hard to look for the best set of escaped symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Price every number of escaped symbols: for books that are kept.
    Exhaustive,
    /// One number, by a rule of thumb: for books made while a block waits.
    Quick,
}

/// A finished book with what it costs on the PMF it was built from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Built {
    /// The content of the codebook.
    pub lengths: Lengths,
    /// Bits per symbol of this book, escapes included.
    pub bits: f64,
    /// Bits per symbol of an unrestricted Huffman code: what limits and escape cost is the
    /// difference.
    pub huffman_bits: f64,
    /// The symbol of the PMF that slot 0 stands for: 0 unless the book is centred.
    pub base: u8,
}

impl Built {
    /// What the limits of the book cost against unrestricted Huffman, in percent of its bits.
    #[must_use]
    pub fn overhead_percent(&self) -> f64 {
        if self.huffman_bits > 0.0 { 100.0 * (self.bits / self.huffman_bits - 1.0) } else { 0.0 }
    }
}

/// Builds the best book for symbols `0 .. 2^width`.
///
/// # Errors
/// [`Error::InvalidCodebook`] when the PMF does not have `2^width` symbols.
pub fn plain(pmf: &Pmf, width: u8, limit: CodeLimit, effort: Effort) -> Result<Built> {
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
    Ok(Built { lengths, bits: code.bits, huffman_bits: pmf.huffman_bits(), base: 0 })
}

/// Builds the best book for exponents relative to a centre.
///
/// `pmf` has 257 symbols: exponent distances modulo 256 (any rotation, only the shape matters), and
/// at index 256 the exact zero. A zero symbol is part of the book when its probability is not 0.
///
/// # Errors
/// [`Error::InvalidCodebook`] when the PMF does not have 257 symbols.
pub fn centred(pmf: &Pmf, limit: CodeLimit, effort: Effort) -> Result<Built> {
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
    Ok(Built { lengths, bits: code.bits, huffman_bits, base: start as u8 })
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
    let narrow = centred && limit == CodeLimit::Short;
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
    let least = total * 0.5f64.powi(i32::from(limit.bits()) + 2);
    vec![heaviest_first.iter().filter(|&&i| weights[i] >= least).count().max(1).min(all)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kraft(lengths: &[u8]) -> f64 {
        lengths.iter().filter(|&&l| l > 0).map(|&l| 0.5f64.powi(i32::from(l))).sum()
    }

    fn cost(weights: &[f64], lengths: &[u8]) -> f64 {
        weights.iter().zip(lengths).map(|(w, &l)| w * f64::from(l)).sum()
    }

    fn weights(n: usize, skew: f64) -> Vec<f64> {
        (0..n).map(|i| skew.powi(i as i32) + 0.001 * ((i * 7919) % 13) as f64).collect()
    }

    /// The cheapest non-decreasing sequence of lengths with Kraft sum 1, by trying them all.
    fn brute_force(descending: &[f64], limit: u8, narrow: bool) -> Option<f64> {
        fn go(w: &[f64], from: u8, limit: u8, space: i32, long: i32, narrow: bool) -> Option<f64> {
            let Some((&first, rest)) = w.split_first() else {
                return (space == 0 && (!narrow || long * 4 <= 1 << limit)).then_some(0.0);
            };
            let options = (from..=limit).filter_map(|length| {
                let width = 1 << (limit - length);
                let long = long + if length > 6 { width } else { 0 };
                let tail = (width <= space)
                    .then(|| go(rest, length, limit, space - width, long, narrow))??;
                Some(first * f64::from(length) + tail)
            });
            options.min_by(f64::total_cmp)
        }
        go(descending, 1, limit, 1 << limit, 0, narrow)
    }

    #[test]
    fn package_merge_is_huffman_when_the_limit_does_not_bind() {
        for n in [2, 3, 17, 64, 200] {
            let w = weights(n, 0.97);
            let limited = limited_lengths(&w, 30).unwrap();
            let free = huffman_lengths(&w);
            assert!((cost(&w, &limited) - cost(&w, &free)).abs() < 1e-9, "{n}");
            assert!((huffman_bits(&w) - cost(&w, &free)).abs() < 1e-9, "{n}");
            assert_eq!(kraft(&limited), 1.0);
        }
    }

    #[test]
    fn package_merge_takes_more_symbols_than_any_codebook_has() {
        let weights: Vec<f64> = (1..=400_000).map(f64::from).collect();
        let limited = limited_lengths(&weights, 40).unwrap();
        assert_eq!(kraft(&limited), 1.0);
        let free = huffman_lengths(&weights);
        assert_eq!(cost(&weights, &limited), cost(&weights, &free));
    }

    #[test]
    fn a_limit_beyond_the_bits_of_a_word_limits_nothing() {
        let weights = [5.0, 1.0, 2.0, 9.0, 1.0];
        for limit in [31, 32, 63, 64, 255] {
            assert_eq!(limited_lengths(&weights, limit), limited_lengths(&weights, 5), "{limit}");
        }
    }

    #[test]
    fn package_merge_matches_brute_force() {
        for (n, skew) in [(2, 0.5), (5, 0.3), (8, 0.4), (9, 0.5)] {
            let w = weights(n, skew);
            let mut descending = w.clone();
            descending.sort_by(|a, b| b.total_cmp(a));
            let lengths = limited_lengths(&w, 4).unwrap();
            assert!(lengths.iter().all(|&l| l <= 4));
            let best = brute_force(&descending, 4, false).unwrap();
            assert!((cost(&w, &lengths) - best).abs() < 1e-9, "{n}");
        }
    }

    #[test]
    fn narrow_matches_brute_force() {
        for (n, skew) in [(2, 0.5), (6, 0.2), (9, 0.4), (12, 0.5)] {
            let mut descending = weights(n, skew);
            descending.sort_by(|a, b| b.total_cmp(a));
            let lengths = narrow_lengths(&descending).unwrap();
            let best = brute_force(&descending, 8, true).unwrap();
            assert!((cost(&descending, &lengths) - best).abs() < 1e-9, "{n}");
        }
    }

    #[test]
    fn narrow_holds_its_rule_even_on_flat_weights() {
        let lengths = narrow_lengths(&[1.0; 64]).unwrap();
        assert_eq!(lengths, [6; 64]);
        let lengths = narrow_lengths(&[1.0; 40]).unwrap();
        assert_eq!(kraft(&lengths), 1.0);
        assert!(kraft(&lengths.into_iter().filter(|&l| l > 6).collect::<Vec<_>>()) <= 0.25);
    }

    #[test]
    fn a_lone_symbol_needs_no_code_and_gets_an_escape_beside_it() {
        assert_eq!(huffman_lengths(&[0.0, 3.0]), [0, 0]);
        let pmf = Pmf::from_weights(&[0.0, 1.0, 0.0, 0.0]).unwrap();
        let built = plain(&pmf, 2, CodeLimit::Short, Effort::Exhaustive).unwrap();
        assert_eq!(built.lengths.direct_lengths(), [0, 1, 0, 0]);
        assert_eq!(built.lengths.escape(), 1);
    }

    #[test]
    fn rare_symbols_take_the_escape_when_that_is_cheaper() {
        let mut w = vec![1e-6; 256];
        w[7] = 0.5;
        w[9] = 0.5;
        let pmf = Pmf::from_weights(&w).unwrap();
        let short = plain(&pmf, 8, CodeLimit::Short, Effort::Exhaustive).unwrap();
        assert!(short.lengths.escape() > 0 && short.bits < 1.6, "{}", short.bits);
        let quick = plain(&pmf, 8, CodeLimit::Short, Effort::Quick).unwrap();
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
            let built = centred(&pmf, CodeLimit::Short, Effort::Exhaustive).unwrap();
            assert!(built.lengths.is_narrow() && built.lengths.zero() > 0);
            assert!(built.bits < built.huffman_bits * 1.02, "{built:?}");
            assert_eq!(built.lengths.origin(), 31, "the mode sits in the middle of the window");
        }
    }
}
