//! Telling noise from symbols that a code can shorten.

use super::sample::{SampleSize, draw_sample};
use crate::kernels::bytes;
use crate::kernels::platform::Platform;

/// Whether a plane, judged by a sample, is so close to noise that a book made for the plane would take more bytes than
/// it saves. Then the rest of the plane need not be counted.
///
/// Two symbols drawn from a PMF `p` are the same with the probability `Σ p²`, of which the pairs in a sample
/// give an unbiased estimate, however small the sample. For a PMF near the uniform one of `m` symbols the entropy
/// lacks `(m Σ p² - 1) / (2 ln 2)` bits; for others this overstates what it lacks, which is much anyway.
pub(crate) fn is_noise(platform: Platform, symbols: &[u8], width: u8) -> bool {
    let mut sample = Vec::new();
    let sample = draw_sample(symbols, 1, SampleSize::NOISE, &mut sample).unwrap_or(symbols);
    let pairs = |count: u64| (count * count.saturating_sub(1)) as f64;
    if sample.len() < 2 {
        return false;
    }
    let histogram = bytes::histogram(platform, sample);
    let same: f64 = histogram.iter().map(|&count| pairs(u64::from(count))).sum();
    let same = same / pairs(sample.len() as u64);
    let lacking = (f64::from(1u32 << width) * same - 1.0) / (2.0 * std::f64::consts::LN_2);
    lacking < NOISE_BITS
}

/// What the entropy must lack at least. The mantissas of a smooth distribution lack 0.03 bits, of which codes of whole
/// bits get nothing.
const NOISE_BITS: f64 = 0.05;
