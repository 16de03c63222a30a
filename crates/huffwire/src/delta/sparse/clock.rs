//! The time from one change to the next: exponential, in integers.

use crate::kernels::deltas::Falling;

/// Bits of the probabilities of times.
pub(super) const BITS: u32 = 30;

/// Longest time that is told at once: 12 octaves.
pub(super) const LIMIT: u64 = 24 * HALF;

/// Half an octave of the clock.
const HALF: u64 = 1 << HALF_LOG2;
const HALF_LOG2: u32 = 12;

/// The chance that a time is longer than so many half octaves: `2^30` times `2^(-k / 2)`, rounded down.
const CHANCES: [u32; 32] = {
    let mut chances = [0; 32];
    let mut k = 0;
    while k < 32 {
        let whole = if k % 2 == 0 { 1 << BITS } else { 759_250_124 };
        chances[k] = whole >> (k / 2);
        k += 1;
    }
    chances
};

/// The chance that more time passes, in units of `2^-30`. Between half octaves it falls evenly.
pub(super) const LONGER: Falling = {
    let mut drops = [0; 32];
    let mut k = 0;
    while k < 31 {
        drops[k] = CHANCES[k] - CHANCES[k + 1];
        k += 1;
    }
    Falling { starts: CHANCES, drops }
};

/// The same at some time; at most [`LIMIT`] is asked for.
#[inline(always)]
pub(super) const fn longer(time: u64) -> u32 {
    LONGER.at(time as u32)
}

/// For each drop `2^71` divided by it, rounded up: a number below `2^42` times this, divided by `2^71`, is that number
/// divided by the drop, rounded down, since drops are below `2^29`.
const RECIPROCALS: [u64; 24] = {
    let mut reciprocals = [0; 24];
    let mut k = 0;
    while k < 24 {
        let drop = LONGER.drops[k] as u128;
        reciprocals[k] = (1u128 << RECIPROCAL_LOG2).div_ceil(drop) as u64;
        k += 1;
    }
    reciprocals
};
const RECIPROCAL_LOG2: u32 = 71;

/// The chance of [`LIMIT`].
pub(super) const AT_LIMIT: u32 = CHANCES[24];

/// The time that a number below `2^30` stands for: the longest with [`longer`] above it. The number must be at least
/// [`AT_LIMIT`].
#[inline(always)]
pub(super) fn time(number: u32) -> u64 {
    // 2^30 / 2^(octaves + 1) <= number < 2^30 / 2^octaves
    let octaves = (number.leading_zeros() - (32 - BITS)) as usize;
    let k = 2 * octaves + usize::from(number < CHANCES[2 * octaves + 1]);
    let below = (u64::from(CHANCES[k] - number) << HALF_LOG2) - 1;
    let part = (u128::from(below) * u128::from(RECIPROCALS[k])) >> RECIPROCAL_LOG2;
    k as u64 * HALF + part as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_fall_by_half_an_octave() {
        for (k, chance) in CHANCES.iter().enumerate() {
            let exact = f64::exp2(f64::from(BITS) - k as f64 / 2.0);
            assert!((f64::from(*chance) - exact).abs() < 1.5, "{k}");
        }
    }

    #[test]
    fn times_and_chances_belong_together() {
        let mut last = longer(0);
        assert_eq!(last, 1 << BITS);
        for ticks in 0..LIMIT {
            let next = longer(ticks + 1);
            assert!(next < last);
            assert_eq!(time(last - 1), ticks);
            assert_eq!(time(next), ticks);
            last = next;
        }
        assert_eq!(last, AT_LIMIT);
    }
}
