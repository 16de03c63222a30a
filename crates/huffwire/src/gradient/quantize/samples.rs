//! Quantizers and gradients for tests.

use super::{Linear, Norm, Qsgd, Quantizer, Sign, SignScale, TernGrad};
use crate::gradient::Random;

/// All quantizers that round bucket by bucket, with these buckets and levels.
pub(in crate::gradient) fn bucketed(buckets: &[usize], levels: &[u32]) -> Vec<Quantizer> {
    let mut quantizers = Vec::new();
    for &bucket in buckets {
        for &levels in levels {
            for norm in [Norm::Max, Norm::L2] {
                quantizers.push(Quantizer::Qsgd(Qsgd { levels, bucket, norm }));
            }
        }
        for clip in [None, Some(2.5)] {
            quantizers.push(Quantizer::TernGrad(TernGrad { clip, bucket }));
        }
        for scale in [SignScale::One, SignScale::Mean, SignScale::Means] {
            quantizers.push(Quantizer::Sign(Sign { scale, bucket }));
        }
        quantizers.push(Quantizer::Linear(Linear { bucket }));
    }
    quantizers
}

/// Floats of both signs whose magnitudes span so many powers of two.
pub(in crate::gradient) fn floats(count: usize, seed: u64, powers: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let float = |i| (random.uniform(i) as f32 - 0.5) * 0.5f32.powi(random.below(i, powers) as i32);
    (0..count as u64).map(float).collect()
}
