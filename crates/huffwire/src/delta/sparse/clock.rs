//! The time from one change to the next: exponential, in integers.

/// Bits of the probabilities of times.
pub(super) const BITS: u32 = 30;

/// Longest time that is told at once: 12 octaves.
pub(super) const LIMIT: u64 = 24 * HALF;

/// Half an octave of the clock.
const HALF: u64 = 1 << HALF_LOG2;
const HALF_LOG2: u32 = 12;

/// The chance that a time is longer than so many half octaves: `2^30` times `2^(-k / 2)`, rounded down.
const CHANCES: [u32; 26] = {
    let mut chances = [0; 26];
    let mut k = 0;
    while k < 26 {
        let whole = if k % 2 == 0 { 1 << BITS } else { 759_250_124 };
        chances[k] = whole >> (k / 2);
        k += 1;
    }
    chances
};

/// The chance that more time passes than that, in units of `2^-30`; at most [`LIMIT`] is asked for. Between half
/// octaves it falls evenly.
#[inline(always)]
pub(super) fn longer(time: u64) -> u32 {
    let k = (time >> HALF_LOG2) as usize;
    let part = time & (HALF - 1);
    let drop = u64::from(CHANCES[k] - CHANCES[k + 1]);
    CHANCES[k] - ((drop * part) >> HALF_LOG2) as u32
}

/// The chance of [`LIMIT`].
pub(super) const AT_LIMIT: u32 = CHANCES[24];

/// The time that a number below `2^30` stands for: the longest with [`longer`] above it. The number must be at least
/// [`AT_LIMIT`].
#[inline(always)]
pub(super) fn time(number: u32) -> u64 {
    // 2^30 / 2^(octaves + 1) <= number < 2^30 / 2^octaves
    let octaves = (number.leading_zeros() - (32 - BITS)) as usize;
    let k = 2 * octaves + usize::from(number < CHANCES[2 * octaves + 1]);
    let drop = u64::from(CHANCES[k] - CHANCES[k + 1]);
    let below = u64::from(CHANCES[k] - number);
    k as u64 * HALF + ((below << HALF_LOG2) - 1) / drop
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
