//! Huffman's problem on plain slices: from weights to optimal code lengths.
//!
//! Three exact algorithms, each for the constraint it fits:
//! * [`huffman_lengths`], no limit (Huffman 1952, in its two-queue form): the baseline of reports;
//! * [`limited_lengths`], a limit on the length: package-merge (Larmore and Hirschberg, "A fast
//!   algorithm for optimal length-limited Huffman codes", 1990);
//! * `narrow_lengths`, a limit of 8 bits *and* at most a quarter of the code space under codes of
//!   over 6 bits: dynamic programming over (length, symbols placed, code space used).

use std::cmp::Reverse;
use std::collections::VecDeque;

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
pub(crate) fn ascending(weights: &[f64]) -> Vec<usize> {
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
pub(crate) fn package_merge(sorted: &[f64], limit: u8) -> Option<Vec<u8>> {
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
pub(crate) fn narrow_lengths(descending: &[f64]) -> Option<Vec<u8>> {
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
}
