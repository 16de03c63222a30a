//! Two families of codes that need smaller decoders than Huffman's, for comparison: symbols are sorted by their
//! probability in the average, and a few bits in front say how long the rest of the code is.

use huffwire::stats::Pmf;

/// Areas of a quad length code, and the bits that choose one.
const AREAS: usize = 8;
const AREA_BITS: u8 = 3;
/// Different lengths that a quad length code may have.
const QUAD_LENGTHS: usize = 4;
/// Bits of the short symbols of a dual length code, behind the bit that tells them from the others.
const SHORT_BITS: u8 = 3;

/// Lengths of a quad length code (arXiv 2602.17849v2): 3 bits choose one of 8 areas of symbols, whose sizes are powers of two;
/// codes have at most four different lengths. By symbol, in bits; of all such codes the best for the PMF.
pub(crate) fn quad_lengths(pmf: &Pmf) -> Vec<u8> {
    let order = by_probability(pmf);
    // The probability of the most probable symbols, by their number.
    let mut mass = vec![0.0];
    for &symbol in &order {
        mass.push(mass[mass.len() - 1] + pmf.probabilities()[symbol]);
    }
    let mut best = (f64::INFINITY, [0; AREAS]);
    search(&mut [0; AREAS], 0, 0, 0.0, &mass, &mut best);
    let mut lengths = vec![0; order.len()];
    let mut area = 0;
    let mut left = 1usize << best.1[0];
    for symbol in order {
        while left == 0 {
            area += 1;
            left = 1 << best.1[area];
        }
        lengths[symbol] = AREA_BITS + best.1[area];
        left -= 1;
    }
    lengths
}

/// Tries all sizes of areas from `area` on, the smallest first: `placed` symbols are in the areas before.
fn search(
    bits: &mut [u8; AREAS],
    area: usize,
    placed: usize,
    price: f64,
    mass: &[f64],
    best: &mut (f64, [u8; AREAS]),
) {
    let symbols = mass.len() - 1;
    if area == AREAS {
        if placed >= symbols && price < best.0 {
            *best = (price, *bits);
        }
        return;
    }
    let least = if area == 0 { 0 } else { bits[area - 1] };
    for size in least..=8 {
        bits[area] = size;
        let distinct = 1 + bits[..=area].windows(2).filter(|pair| pair[0] < pair[1]).count();
        if distinct > QUAD_LENGTHS {
            continue;
        }
        let end = symbols.min(placed + (1 << size));
        let more = (mass[end] - mass[placed]) * f64::from(AREA_BITS + size);
        search(bits, area + 1, end, price + more, mass, best);
    }
}

/// Lengths of a dual length code (arXiv 2602.17849v1) for symbols of so many bits: 1 bit tells the 8 most probable symbols,
/// which take 3 bits more, from the others, which follow as they are. By symbol, in bits.
pub(crate) fn dual_lengths(pmf: &Pmf, width: u8) -> Vec<u8> {
    let order = by_probability(pmf);
    let mut lengths = vec![1 + width; order.len()];
    for &symbol in order.iter().take(1 << SHORT_BITS) {
        lengths[symbol] = 1 + SHORT_BITS.min(width);
    }
    lengths
}

/// The symbols, the most probable first.
fn by_probability(pmf: &Pmf) -> Vec<usize> {
    let p = pmf.probabilities();
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    order
}

/// Bits a symbol, on average.
pub(crate) fn mean_bits(lengths: &[u8], pmf: &Pmf) -> f64 {
    lengths.iter().zip(pmf.probabilities()).map(|(&bits, p)| f64::from(bits) * p).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometric(symbols: usize, ratio: f64) -> Pmf {
        let weights: Vec<f64> = (0..symbols).map(|i| ratio.powi(i as i32)).collect();
        Pmf::from_weights(&weights).unwrap()
    }

    fn kraft(lengths: &[u8]) -> f64 {
        lengths.iter().map(|&bits| 0.5f64.powi(bits.into())).sum()
    }

    #[test]
    fn codes_exist_and_lie_between_huffman_and_no_code() {
        for (symbols, ratio) in [(256, 0.97), (256, 0.8), (256, 1.0), (128, 0.95), (64, 0.9)] {
            let pmf = geometric(symbols, ratio);
            let (quad, dual) = (quad_lengths(&pmf), dual_lengths(&pmf, symbols.ilog2() as u8));
            assert!(kraft(&quad) <= 1.0 && kraft(&dual) <= 1.0, "{symbols} {ratio}");
            let mut lengths = quad.clone();
            lengths.sort_unstable();
            lengths.dedup();
            assert!(lengths.len() <= 4, "{lengths:?}");
            let bits = f64::from(symbols.ilog2());
            for lengths in [&quad, &dual] {
                let mean = mean_bits(lengths, &pmf);
                assert!(
                    pmf.huffman_bits() <= mean + 1e-9 && mean <= bits + 3.0,
                    "{symbols} {ratio}"
                );
            }
        }
    }

    #[test]
    fn eight_equal_symbols_take_three_and_four_bits() {
        let mut weights = [0.0; 256];
        weights[10..18].fill(1.0);
        let pmf = Pmf::from_weights(&weights).unwrap();
        assert_eq!(mean_bits(&dual_lengths(&pmf, 8), &pmf), 4.0);
        // Six areas of one symbol, one of two, and one of 256 for all that do not occur.
        assert_eq!(mean_bits(&quad_lengths(&pmf), &pmf), (6.0 * 3.0 + 2.0 * 4.0) / 8.0);
    }

    #[test]
    fn equal_symbols_cost_no_more_than_three_and_five_bits() {
        let pmf = geometric(256, 1.0);
        assert_eq!(mean_bits(&quad_lengths(&pmf), &pmf), 8.0);
        assert_eq!(mean_bits(&dual_lengths(&pmf, 8), &pmf), (8.0 * 4.0 + 248.0 * 9.0) / 256.0);
    }
}
