//! Kernels of quantizers in portable safe Rust: plain loops over slices, which compilers turn into vectors.
//!
//! Numbers are converted between floats and integers by adding a power of two: the mantissa of the sum then is the
//! integer, in any instruction set.

use crate::kernels::quantize::{LANES, Moments, Number, Sums, hash};

#[inline(always)]
pub(crate) fn noise(seed: u64, first: u64, groups: &mut [[u32; LANES]]) {
    const HALF: usize = LANES / 2;
    for (group, words) in groups.iter_mut().enumerate() {
        let index = (first + group as u64).wrapping_mul(HALF as u64);
        let bits: [u64; HALF] = std::array::from_fn(|i| hash(seed, index.wrapping_add(i as u64)));
        let (low, high) = words.split_at_mut(HALF);
        for ((low, high), bits) in low.iter_mut().zip(high).zip(bits) {
            *low = bits as u32;
            *high = (bits >> 32) as u32;
        }
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

/// Calls a function with each group of floats and with those that are left, filled up with a float.
#[inline(always)]
fn groups(floats: &[f32], fill: f32, mut each: impl FnMut(&[f32; LANES])) {
    let (groups, rest) = floats.as_chunks();
    groups.iter().for_each(&mut each);
    if !rest.is_empty() {
        let mut last = [fill; LANES];
        last[..rest.len()].copy_from_slice(rest);
        each(&last);
    }
}

#[inline(always)]
pub(crate) fn add_moments(floats: &[f32], pivot: f32, moments: &mut Moments) {
    let Moments { mut sum, mut squares } = *moments;
    // What fills the last group adds nothing.
    groups(floats, pivot, |group| {
        for i in 0..LANES {
            let distance = f64::from(group[i]) - f64::from(pivot);
            sum[i] += distance;
            squares[i] += distance * distance;
        }
    });
    *moments = Moments { sum, squares };
}

#[inline(always)]
pub(crate) fn add_magnitudes(floats: &[f32], sums: &mut Sums) {
    let Sums { mut plus, mut minus, mut negative } = *sums;
    groups(floats, 0.0, |group| {
        for i in 0..LANES {
            let float = group[i];
            // Of the two one is 0.
            plus[i] += f64::from(if float < 0.0 { 0.0 } else { float });
            minus[i] += f64::from(if float < 0.0 { -float } else { 0.0 });
            negative[i] += u64::from(float < 0.0);
        }
    });
    *sums = Sums { plus, minus, negative };
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
    // A position below 2^(52 - FRACTION) and this have a sum whose lowest bits are the fraction of the position.
    let step = |position: f64, noise: u64| {
        let offset = ((1u64 << 52) >> N::FRACTION) as f64;
        // The carry of this addition rounds up.
        (((position + offset).to_bits() + noise) >> N::FRACTION) as u32
    };
    for ((value, float), word) in values.iter_mut().zip(floats).zip(noise) {
        let position = f64::from(float.abs()) * factor;
        let position = if position < highest { position } else { highest };
        let level = step(position, u64::from(word >> (32 - N::FRACTION))) & N::LEVELS;
        let sign = float.to_bits() as i32 >> 31;
        *value = N::from_i32((level as i32 ^ sign) - sign);
    }
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
        let value: i32 = (*value).into();
        *float = ((unit * f64::from(value)) as f32).clamp(f32::MIN, f32::MAX);
    }
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
