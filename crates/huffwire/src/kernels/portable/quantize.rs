//! Kernels of quantizers in portable safe Rust: plain loops over slices, which compilers turn into vectors.
//!
//! Numbers are converted between floats and integers by adding a power of two: the mantissa of the sum then is the
//! integer, in any instruction set.
#![allow(
    clippy::needless_range_loop,
    reason = "a loop over the lanes, of which compilers make vectors"
)]

use crate::kernels::quantize::{LANES, Moments, Number, STEP, Sums, mix};

#[inline(always)]
pub(crate) fn noise(seed: u64, first: u64, words: &mut [u64]) {
    let mut state = seed.wrapping_add(STEP.wrapping_mul(first.wrapping_add(1)));
    for word in words {
        let bits = mix(state);
        *word = if cfg!(target_endian = "big") { bits.rotate_left(32) } else { bits };
        state = state.wrapping_add(STEP);
    }
}

#[inline(always)]
pub(crate) fn compensate(gradient: &[f32], kept: &[f32], decay: f32, sums: &mut [f32]) {
    for ((sum, float), kept) in sums.iter_mut().zip(gradient).zip(kept) {
        *sum = float + decay * kept;
    }
}

#[inline(always)]
pub(crate) fn subtract(floats: &[f32], sent: &[f32], kept: &mut [f32]) {
    for ((kept, float), sent) in kept.iter_mut().zip(floats).zip(sent) {
        *kept = float - sent;
    }
}

#[inline(always)]
pub(crate) fn largest(floats: &[f32]) -> u32 {
    floats.iter().fold(0, |largest, float| largest.max(float.abs().to_bits()))
}

/// The floats that are not a whole group, filled up with a float.
#[inline(always)]
fn filled(floats: &[f32], fill: f32) -> [f32; LANES] {
    let mut group = [fill; LANES];
    group[..floats.len()].copy_from_slice(floats);
    group
}

#[inline(always)]
pub(crate) fn add_moments(floats: &[f32], pivot: f32, moments: &mut Moments) {
    // In registers for as long as the loop takes.
    let mut sums = *moments;
    let (groups, rest) = floats.as_chunks();
    for group in groups {
        add_group_moments(group, pivot, &mut sums);
    }
    if !rest.is_empty() {
        // What fills the group adds nothing.
        add_group_moments(&filled(rest, pivot), pivot, &mut sums);
    }
    *moments = sums;
}

#[inline(always)]
fn add_group_moments(group: &[f32; LANES], pivot: f32, moments: &mut Moments) {
    for i in 0..LANES {
        let distance = f64::from(group[i]) - f64::from(pivot);
        moments.sum[i] += distance;
        moments.squares[i] += distance * distance;
    }
}

#[inline(always)]
pub(crate) fn add_magnitudes(floats: &[f32], sums: &mut Sums) {
    let mut all = *sums;
    let (groups, rest) = floats.as_chunks();
    for group in groups {
        add_group_magnitudes(group, &mut all);
    }
    if !rest.is_empty() {
        add_group_magnitudes(&filled(rest, 0.0), &mut all);
    }
    *sums = all;
}

#[inline(always)]
fn add_group_magnitudes(group: &[f32; LANES], sums: &mut Sums) {
    // The magnitudes of the floats of one sign, 0 for others. By bits: of a choice between floats compilers would make
    // two sums in memory.
    let of_sign = |others: u32| {
        group.map(|float| {
            let negative = (float.to_bits() as i32 >> 31) as u32;
            f32::from_bits(float.abs().to_bits() & (negative ^ others))
        })
    };
    let (plus, minus) = (of_sign(u32::MAX), of_sign(0));
    for i in 0..LANES {
        sums.plus[i] += f64::from(plus[i]);
    }
    for i in 0..LANES {
        sums.minus[i] += f64::from(minus[i]);
    }
    for i in 0..LANES {
        sums.negative[i] += u32::from(group[i] < 0.0);
    }
}

#[inline(always)]
pub(crate) fn round<N: Number>(
    floats: &[f32],
    noise: &[u32],
    factor: f64,
    levels: u32,
    values: &mut [N],
) {
    let highest = f64::from(levels);
    for ((value, float), word) in values.iter_mut().zip(floats).zip(noise) {
        *value = N::from_i32(rounded::<N>(*float, *word, factor, highest));
    }
}

#[inline(always)]
pub(crate) fn round_and_restore<N: Number>(
    floats: &[f32],
    noise: &[u32],
    (factor, levels, unit): (f64, u32, f64),
    values: &mut [N],
    sent: &mut [f32],
) {
    let highest = f64::from(levels);
    let count = floats.len().min(noise.len()).min(values.len()).min(sent.len());
    let (floats, noise) = (&floats[..count], &noise[..count]);
    let (values, sent) = (&mut values[..count], &mut sent[..count]);
    for i in 0..count {
        let value = rounded::<N>(floats[i], noise[i], factor, highest);
        values[i] = N::from_i32(value);
        sent[i] = multiplied(value, unit);
    }
}

/// A float that is rounded to a level, with its sign.
#[inline(always)]
fn rounded<N: Number>(float: f32, word: u32, factor: f64, highest: f64) -> i32 {
    let position = f64::from(float.abs()) * factor;
    let position = if position < highest { position } else { highest };
    // A position below 2^(52 - FRACTION) and this have a sum whose lowest bits are the fraction of the position.
    let offset = ((1u64 << 52) >> N::FRACTION) as f64;
    let noise = u64::from(word >> (32 - N::FRACTION));
    // The carry of this addition rounds up.
    let level = (((position + offset).to_bits() + noise) >> N::FRACTION) as u32 & N::LEVELS;
    let sign = float.to_bits() as i32 >> 31;
    (level as i32 ^ sign) - sign
}

#[inline(always)]
pub(crate) fn nearest<N: Number>(floats: &[f32], factor: f64, values: &mut [N]) {
    // The sum of a small number and this has the nearest integer in its lowest bits.
    const OFFSET: f64 = 1.5 * (1u64 << 52) as f64;
    for (value, float) in values.iter_mut().zip(floats) {
        *value = N::from_i32((f64::from(*float) * factor + OFFSET).to_bits() as i32);
    }
}

#[inline(always)]
pub(crate) fn signs<N: Number>(floats: &[f32], values: &mut [N]) {
    for (value, float) in values.iter_mut().zip(floats) {
        *value = N::from_i32(if *float < 0.0 { -1 } else { 1 });
    }
}

#[inline(always)]
pub(crate) fn multiply<N: Number>(values: &[N], unit: f64, floats: &mut [f32]) {
    for (float, value) in floats.iter_mut().zip(values) {
        *float = multiplied((*value).into(), unit);
    }
}

#[inline(always)]
fn multiplied(value: i32, unit: f64) -> f32 {
    ((unit * f64::from(value)) as f32).clamp(f32::MIN, f32::MAX)
}

#[inline(always)]
pub(crate) fn choose<N: Number>(values: &[N], plus: f32, minus: f32, floats: &mut [f32]) {
    for (float, value) in floats.iter_mut().zip(values) {
        let value: i32 = (*value).into();
        *float = if value < 0 { minus } else { plus };
    }
}

#[inline(always)]
pub(crate) fn within<N: Number>(values: &[N], highest: u32) -> bool {
    let is_outside = |value: &N| {
        let value: i32 = (*value).into();
        value.unsigned_abs() > highest
    };
    !values.iter().fold(false, |any, value| any | is_outside(value))
}
