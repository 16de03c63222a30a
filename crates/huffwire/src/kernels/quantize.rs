//! Kernels of quantizers. Each is a loop over a few slices, so short that all of them stay in the nearest cache from one
//! kernel to the next. Slices of one call are equally long; if not, the shortest decides.
//!
//! Sums are those of 16 lanes: float `i` is added to lane `i mod 16`, and [`total`] adds the lanes. So the order of all
//! additions is the same on every platform, and with it the result. Arithmetic is in double precision.

use super::Kernels;
use super::platform::{Platform, on};

/// Lanes of sums.
pub(crate) const LANES: usize = 16;

/// What the state of SplitMix64 grows by from one number to the next.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64 random bits, those at `index`: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014).
#[inline(always)]
pub(crate) const fn hash(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1))))
}

/// The number that SplitMix64 makes of a state.
#[inline(always)]
pub(crate) const fn mix(state: u64) -> u64 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A type of quantized values.
pub(crate) trait Number: Copy + Default + Into<i32> {
    /// Bits of the fraction by which [`round`] rounds up.
    const FRACTION: u32;

    /// A mask of the bits that a level may have.
    const LEVELS: u32;

    /// The number, which must fit.
    fn from_i32(value: i32) -> Self;
}

impl Number for i8 {
    const FRACTION: u32 = 32;
    const LEVELS: u32 = 0xff;

    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value as Self
    }
}

impl Number for i32 {
    const FRACTION: u32 = 21;
    const LEVELS: u32 = 0x7fff_ffff;

    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value
    }
}

/// Sums of the distances of floats from one number, and of their squares.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) sum: [f64; LANES],
    pub(crate) squares: [f64; LANES],
}

/// Sums of the magnitudes of floats, apart for the two signs, and how many are negative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) plus: [f64; LANES],
    pub(crate) minus: [f64; LANES],
    pub(crate) negative: [u32; LANES],
}

/// The sum of all lanes.
pub(crate) fn total(lanes: &[f64; LANES]) -> f64 {
    let mut sums = *lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The random words of two elements each: [`hash`] at `first`, `first + 1` and so on. Its lower half is the first word in
/// memory, also where the highest byte comes first.
pub(crate) fn noise(platform: Platform, seed: u64, first: u64, words: &mut [u64]) {
    on!(platform, kernels => kernels.noise(seed, first, words));
}

/// `gradient + decay · kept`.
pub(crate) fn compensate(
    platform: Platform,
    gradient: &[f32],
    kept: &[f32],
    decay: f32,
    sums: &mut [f32],
) {
    on!(platform, kernels => kernels.compensate(gradient, kept, decay, sums));
}

/// `kept = floats - sent`.
pub(crate) fn subtract(platform: Platform, floats: &[f32], sent: &[f32], kept: &mut [f32]) {
    on!(platform, kernels => kernels.subtract(floats, sent, kept));
}

/// The bits of the largest magnitude. Those of infinity or more tell that a float is not finite.
pub(crate) fn largest(platform: Platform, floats: &[f32]) -> u32 {
    on!(platform, kernels => kernels.largest(floats))
}

/// Adds floats, of which the first belongs to lane 0.
pub(crate) fn add_moments(platform: Platform, floats: &[f32], pivot: f32, moments: &mut Moments) {
    on!(platform, kernels => kernels.add_moments(floats, pivot, moments));
}

/// Adds floats, of which the first belongs to lane 0.
pub(crate) fn add_magnitudes(platform: Platform, floats: &[f32], sums: &mut Sums) {
    on!(platform, kernels => kernels.add_magnitudes(floats, sums));
}

/// Stochastic rounding of the magnitudes of floats times `factor`, cut to `levels`, with the sign of the float. A fraction
/// is taken to a multiple of `2^-FRACTION`, and rounded up with exactly that probability: if its sum with a random word,
/// taken as such a multiple too, is 1 or more. The type must have room for the levels, and floats must be finite.
pub(crate) fn round<N: Number>(
    platform: Platform,
    floats: &[f32],
    noise: &[u32],
    factor: f64,
    levels: u32,
    values: &mut [N],
) {
    on!(platform, kernels => kernels.round(floats, noise, factor, levels, values));
}

/// [`round`] with this factor and these levels, and [`multiply`] of the values by the last number, in one loop.
pub(crate) fn round_and_restore<N: Number>(
    platform: Platform,
    floats: &[f32],
    noise: &[u32],
    scaling: (f64, u32, f64),
    values: &mut [N],
    sent: &mut [f32],
) {
    on!(platform, kernels => kernels.round_and_restore(floats, noise, scaling, values, sent));
}

/// The integers nearest to floats times `factor`, of two equally near ones the even one. They must fit.
pub(crate) fn nearest<N: Number>(
    platform: Platform,
    floats: &[f32],
    factor: f64,
    values: &mut [N],
) {
    on!(platform, kernels => kernels.nearest(floats, factor, values));
}

/// -1 for negative floats, 1 for others.
pub(crate) fn signs<N: Number>(platform: Platform, floats: &[f32], values: &mut [N]) {
    on!(platform, kernels => kernels.signs(floats, values));
}

/// Values times `unit`; the largest f32 for what exceeds it.
pub(crate) fn multiply<N: Number>(platform: Platform, values: &[N], unit: f64, floats: &mut [f32]) {
    on!(platform, kernels => kernels.multiply(values, unit, floats));
}

/// `minus` for negative values, `plus` for others.
pub(crate) fn choose<N: Number>(
    platform: Platform,
    values: &[N],
    plus: f32,
    minus: f32,
    floats: &mut [f32],
) {
    on!(platform, kernels => kernels.choose(values, plus, minus, floats));
}

/// Whether no magnitude exceeds `highest`.
pub(crate) fn within<N: Number>(platform: Platform, values: &[N], highest: u32) -> bool {
    on!(platform, kernels => kernels.within(values, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Floats of all magnitudes, 0 and -0 among them.
    fn floats(count: usize, seed: u64) -> Vec<f32> {
        let float = |i: u64| {
            let bits = hash(seed, i);
            match bits & 15 {
                0 => 0.0,
                1 => -0.0,
                2 => f32::from_bits((bits >> 32) as u32 & 0x807f_ffff),
                3 => f32::from_bits((bits >> 32) as u32 & 0xbfff_ffff),
                _ => (bits >> 40) as f32 / (1 << 23) as f32 - 1.0,
            }
        };
        (0..count as u64).map(float).collect()
    }

    fn platforms() -> impl Iterator<Item = Platform> {
        Platform::available()
    }

    /// The results of a kernel, which must be those of the portable one.
    fn alike<R: PartialEq>(what: &str, kernel: impl Fn(Platform) -> R) {
        let portable = kernel(Platform::Portable);
        for platform in platforms() {
            assert!(kernel(platform) == portable, "{what} of {platform}");
        }
    }

    fn bits(floats: &[f32]) -> Vec<u32> {
        floats.iter().map(|float| float.to_bits()).collect()
    }

    #[test]
    fn all_platforms_give_the_same() {
        for count in [0, 1, 7, 15, 16, 17, 63, 64, 100, 511, 1024] {
            let (a, b) = (floats(count, 1), floats(count, 2));
            let noise_of = |platform| {
                let mut words = [0; 512];
                noise(platform, 7, 3, &mut words[..count.div_ceil(2)]);
                let words: [u32; 1024] = zerocopy::transmute!(words);
                words
            };
            alike("noise", noise_of);
            alike("compensate", |platform| {
                let mut sums = vec![0.0; count];
                compensate(platform, &a, &b, 0.9, &mut sums);
                bits(&sums)
            });
            alike("subtract", |platform| {
                let mut kept = vec![0.0; count];
                subtract(platform, &a, &b, &mut kept);
                bits(&kept)
            });
            alike("largest", |platform| largest(platform, &a));
            alike("add_moments", |platform| {
                let mut moments = Moments::default();
                add_moments(platform, &a, 0.25, &mut moments);
                add_moments(platform, &b, 0.0, &mut moments);
                moments
            });
            alike("add_magnitudes", |platform| {
                let mut sums = Sums::default();
                add_magnitudes(platform, &a, &mut sums);
                sums
            });
            let words = noise_of(Platform::Portable);
            for levels in [1, 4, 127] {
                alike("round", |platform| {
                    let mut values = vec![0i8; count];
                    round(platform, &a, &words, 1.7 * f64::from(levels), levels, &mut values);
                    values
                });
            }
            for levels in [1, 4, 127] {
                let (factor, unit) = (1.7 * f64::from(levels), 1e38 / f64::from(levels));
                let mut due = (vec![0i8; count], vec![0.0; count]);
                round(Platform::Portable, &a, &words, factor, levels, &mut due.0);
                multiply(Platform::Portable, &due.0, unit, &mut due.1);
                for platform in platforms() {
                    let mut found = (vec![0i8; count], vec![0.0; count]);
                    let (values, sent) = (&mut found.0, &mut found.1);
                    round_and_restore(platform, &a, &words, (factor, levels, unit), values, sent);
                    assert_eq!((&found.0, bits(&found.1)), (&due.0, bits(&due.1)), "{platform}");
                }
            }
            for levels in [128, 1 << 30] {
                alike("round", |platform| {
                    let mut values = vec![0i32; count];
                    round(platform, &a, &words, f64::from(levels) / 2.0, levels, &mut values);
                    values
                });
            }
            let narrow = |platform| {
                let mut values = vec![0i8; count];
                nearest(platform, &a, 60.0, &mut values);
                values
            };
            alike("nearest", narrow);
            alike("signs", |platform| {
                let mut values = vec![0i8; count];
                signs(platform, &a, &mut values);
                values
            });
            let values = narrow(Platform::Portable);
            alike("multiply", |platform| {
                let mut floats = vec![0.0; count];
                multiply(platform, &values, 1e-3, &mut floats);
                bits(&floats)
            });
            alike("choose", |platform| {
                let mut floats = vec![0.0; count];
                choose(platform, &values, 0.5, -0.25, &mut floats);
                bits(&floats)
            });
            alike("within", |platform| [0, 5, 127].map(|most| within(platform, &values, most)));
        }
    }

    #[test]
    fn noise_is_a_function_of_the_place() {
        for platform in platforms() {
            let mut words = [0; 9];
            noise(platform, 9, 3, &mut words);
            let words: [u32; 18] = zerocopy::transmute!(words);
            for (i, word) in words.into_iter().enumerate() {
                let bits = hash(9, 3 + i as u64 / 2);
                assert_eq!(word, (bits >> (32 * (i % 2))) as u32);
            }
        }
    }

    /// Of all words those in the share of the fraction round up.
    #[test]
    fn a_fraction_is_rounded_up_as_often_as_it_says() {
        let up = |position: f32, word: u32| {
            let mut value = [0i8];
            round(Platform::Portable, &[position], &[word], 1.0, 127, &mut value);
            let mut wide = [0i32];
            round(Platform::Portable, &[position], &[word], 1.0, 128, &mut wide);
            assert!(wide[0] == i32::from(value[0]) || word << 11 != 0);
            value[0]
        };
        assert_eq!([up(2.25, 0xbfff_ffff), up(2.25, 0xc000_0000)], [2, 3]);
        assert_eq!([up(-2.25, 0xbfff_ffff), up(-2.25, 0xc000_0000)], [-2, -3]);
        assert_eq!([up(0.0, u32::MAX), up(-0.0, u32::MAX), up(5.0, u32::MAX)], [0, 0, 5]);
        assert_eq!([up(126.5, u32::MAX), up(127.0, u32::MAX), up(1e30, u32::MAX)], [127; 3]);
        // 2^-32 is the smallest fraction that counts.
        let tiny = 2f32.powi(-32);
        assert_eq!(
            [up(tiny, u32::MAX), up(tiny, u32::MAX - 1), up(tiny / 4.0, u32::MAX)],
            [1, 0, 0]
        );
    }

    #[test]
    fn sums_are_those_of_the_floats() {
        let floats = floats(100, 4);
        let mut sums = Sums::default();
        add_magnitudes(Platform::Portable, &floats, &mut sums);
        let plus: f64 = floats.iter().map(|float| f64::from(float.max(0.0))).sum();
        let minus: f64 = floats.iter().map(|float| f64::from((-float).max(0.0))).sum();
        assert!(
            (total(&sums.plus) - plus).abs() < 1e-9 && (total(&sums.minus) - minus).abs() < 1e-9
        );
        let negative = floats.iter().filter(|float| **float < 0.0).count();
        assert_eq!(sums.negative.iter().sum::<u32>(), negative as u32);
        let mut moments = Moments::default();
        add_moments(Platform::Portable, &floats, 0.5, &mut moments);
        let sum: f64 = floats.iter().map(|&float| f64::from(float) - 0.5).sum();
        let squares: f64 = floats.iter().map(|&float| (f64::from(float) - 0.5).powi(2)).sum();
        assert!((total(&moments.sum) - sum).abs() < 1e-9);
        assert!((total(&moments.squares) - squares).abs() < 1e-9);
    }
}
