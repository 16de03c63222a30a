//! What a plane of a layer costs, by its counts alone.

use crate::huffman::huffman_bits;

/// Planes of at least this number of bytes are coded in lanes, whose states cost some bytes.
const LANES_FROM: usize = 1 << 13;

/// The same for the planes of many values, where the bytes of the states are a smaller share.
const LANES_FROM_OF_MANY: usize = 1 << 12;

/// From this number on values are many.
const MANY: usize = 1 << 18;

/// The share of a plane that codes of up to 12 bits must save to be used, because they are slower.
pub(super) const BITS12_GAIN: f64 = 0.03;

/// The number of bytes from which on the planes of so many values are in lanes.
pub(super) const fn lanes_from(values: usize) -> usize {
    if values < MANY { LANES_FROM } else { LANES_FROM_OF_MANY }
}

/// The estimated bytes of a plane of these bytes, each of which counts `scale` times: header, book, payload.
pub(super) fn coded_bytes(counts: &[f64; 256], scale: f64, lanes_from: usize) -> f64 {
    let total = counts.iter().sum::<f64>() * scale;
    let used = counts.iter().copied().filter(|count| *count > 0.0);
    if used.clone().count() < 2 {
        return total.min(2.0);
    }
    // States, less what they carry, and the fields of a header.
    let lanes = if total < lanes_from as f64 { 4.0 } else { 64.0 + 8.0 };
    let last = counts.iter().rposition(|count| *count > 0.0).unwrap_or(0);
    // An escape makes the rarest code longer by a bit. Where all numbers of some bits occur, there is none.
    let all = (last + 1).is_power_of_two() && used.clone().count() == last + 1;
    let escape = if all { 0.0 } else { used.fold(f64::INFINITY, f64::min) };
    let bits = (huffman_bits(counts) + escape) * scale;
    // A codebook takes half a byte for each length.
    (bits / 8.0 + last as f64 / 2.0 + lanes).min(total)
}
