//! Loops over a part of a gradient, for links: one pass over memory, and buckets that are not finite are told to the
//! receiver instead of being errors.
//!
//! A part begins at a multiple of the bucket. Buckets are taken some at a time, so that their floats, random words and
//! restored floats stay in the nearest caches while they are measured, rounded and restored.

use std::ops::Range;

use super::super::bad;
use super::{BLOCK, Bucket, Floats, Rounding};
use crate::error::{Error, Result};
use crate::kernels::platform::Platform;
use crate::kernels::quantize as kernels;

/// Where restored floats go.
#[derive(Debug)]
pub enum Restored<'a> {
    /// In place of the floats that lie there.
    Put(&'a mut [f32]),
    /// They are added to the floats that lie there.
    Add(&'a mut [f32]),
    /// They are added to the floats that lie there, and the sums are divided by a number.
    Mean(&'a mut [f32], f32),
}

impl Restored<'_> {
    /// Number of floats that there is room for.
    pub(in crate::gradient) const fn len(&self) -> usize {
        match self {
            Self::Put(floats) | Self::Add(floats) | Self::Mean(floats, _) => floats.len(),
        }
    }

    /// Where floats of a range are restored: their own place, or memory from which [`add`](Self::add) takes them.
    fn place<'b>(&'b mut self, range: Range<usize>, memory: &'b mut [f32]) -> &'b mut [f32] {
        match self {
            Self::Put(out) => &mut out[range],
            _ => &mut memory[..range.len()],
        }
    }

    /// Adds floats that were restored in the memory.
    fn add(&mut self, platform: Platform, range: Range<usize>, floats: &[f32]) {
        match self {
            Self::Put(_) => {}
            Self::Add(out) => platform.run(|| {
                for (sum, float) in out[range].iter_mut().zip(floats) {
                    *sum += float;
                }
            }),
            Self::Mean(out, divisor) => platform.run(|| {
                for (sum, float) in out[range].iter_mut().zip(floats) {
                    *sum = (*sum + float) / *divisor;
                }
            }),
        }
    }
}

/// A part of a gradient and what belongs to it.
#[derive(Debug)]
pub(in crate::gradient) struct Part<'a> {
    /// The floats.
    pub(in crate::gradient) floats: &'a [f32],
    /// The kept error, as long as the floats, and how much it counts; the new error takes its place.
    pub(in crate::gradient) error: Option<(&'a mut [f32], f32)>,
    /// The seed of the whole gradient.
    pub(in crate::gradient) seed: u64,
    /// Index in the whole gradient of the first float: a multiple of the bucket.
    pub(in crate::gradient) first: u64,
}

/// Memory that is used again.
#[derive(Debug, Default)]
pub(in crate::gradient) struct Scratch {
    sums: Vec<f32>,
    sent: Vec<f32>,
    noise: Vec<u64>,
}

/// Elements that are taken at a time: whole buckets.
fn unit(bucket: usize) -> usize {
    bucket * (BLOCK / bucket).max(1)
}

/// Quantizes a part. The buckets must have an even number of elements. A bucket with a float that is not finite (or whose
/// norm is not) gets NaN for its scales and arbitrary values, and its kept error stays as it was. Returns the number of
/// such buckets.
///
/// `values` has a place for each float; the scales replace those in `scales`.
pub(in crate::gradient::quantize) fn quantize<Q: Rounding>(
    platform: Platform,
    quantizer: &Q,
    part: Part<'_>,
    scratch: &mut Scratch,
    (values, scales): (&mut [i8], &mut Vec<f32>),
    mut target: Option<Restored<'_>>,
) -> Result<usize> {
    let Part { floats, mut error, seed, first } = part;
    let (count, bucket) = (floats.len(), quantizer.bucket());
    let (unit, per_bucket) = (unit(bucket), quantizer.per_bucket());
    let Scratch { sums, sent, noise } = scratch;
    sums.resize(unit, 0.0);
    sent.resize(unit, 0.0);
    noise.resize(unit.div_ceil(2), 0);
    scales.clear();
    let restores = error.is_some() || target.is_some();
    let mut bad_buckets = 0;
    let mut buffer = [0.0; BLOCK];
    for start in (0..count).step_by(unit) {
        let range = start..count.min(start + unit);
        let length = range.len();
        let floats = &floats[range.clone()];
        let floats = match &error {
            Some((error, decay)) => {
                let sums = &mut sums[..length];
                kernels::compensate(platform, floats, &error[range.clone()], *decay, sums);
                &*sums
            }
            None => floats,
        };
        if Q::IS_RANDOM {
            let words = &mut noise[..length.div_ceil(2)];
            kernels::noise(platform, seed, (first + start as u64) / 2, words);
        }
        let values = &mut values[range.clone()];
        let restored = match &mut target {
            Some(target) => target.place(range.clone(), sent),
            None => &mut sent[..length],
        };
        for from in (0..length).step_by(bucket) {
            let here = from..length.min(from + bucket);
            let places = scales.len();
            let whole = Floats { platform, gradient: floats, kept: None };
            let mut measured = Bucket { floats: whole, range: here.clone(), buffer: &mut buffer };
            match quantizer.measure(&mut measured, scales) {
                Ok(()) => {}
                Err(Error::Unquantizable { .. }) => {
                    bad_buckets += 1;
                    scales.truncate(places);
                    scales.resize(places + per_bucket, f32::NAN);
                    values[here.clone()].fill(1);
                    restored[here].fill(f32::NAN);
                    continue;
                }
                Err(other) => return Err(other),
            }
            let (floats, values) = (&floats[here.clone()], &mut values[here.clone()]);
            let scales = &scales[places..];
            let words: &[u32] = zerocopy::transmute_ref!(&noise[..]);
            let words = if Q::IS_RANDOM { &words[here.clone()] } else { words };
            if !restores {
                quantizer.round(platform, scales, floats, words, values);
                continue;
            }
            let restored = &mut restored[here.clone()];
            quantizer.round_and_restore(platform, scales, floats, words, values, restored);
            if let Some((error, _)) = &mut error {
                let error = &mut error[start + here.start..start + here.end];
                kernels::subtract(platform, floats, restored, error);
            }
        }
        if let Some(target) = &mut target {
            target.add(platform, range, &sent[..length]);
        }
    }
    Ok(bad_buckets)
}

/// Restores the floats of a part. Buckets whose scales are NaN become NaN.
pub(in crate::gradient::quantize) fn restore<Q: Rounding>(
    platform: Platform,
    quantizer: &Q,
    values: &[i8],
    scales: &[f32],
    scratch: &mut Scratch,
    mut target: Restored<'_>,
) -> Result<()> {
    let (count, bucket) = (values.len(), quantizer.bucket());
    let per_bucket = quantizer.per_bucket();
    if scales.len() != count.div_ceil(bucket) * per_bucket {
        let found = scales.len();
        return Err(bad(0, format!("{found} scales for {count} values")));
    }
    if let Some(index) = scales.iter().position(|scale| scale.is_infinite()) {
        return Err(bad(index, format!("scale {index} is {}", scales[index])));
    }
    if !quantizer.makes(platform, values) {
        return Err(bad(0, "values that this quantizer never makes"));
    }
    let sent = &mut scratch.sent;
    sent.resize(unit(bucket), 0.0);
    for (start, scales) in (0..count).step_by(bucket).zip(scales.chunks(per_bucket)) {
        let range = start..count.min(start + bucket);
        let restored = target.place(range.clone(), sent);
        if scales.iter().any(|scale| scale.is_nan()) {
            restored.fill(f32::NAN);
        } else {
            quantizer.restore(platform, scales, &values[range.clone()], restored);
        }
        let length = range.len();
        target.add(platform, range, &sent[..length]);
    }
    Ok(())
}
