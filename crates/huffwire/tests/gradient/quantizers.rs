//! The properties of quantizers that their authors promise, and bad input.

use huffwire::Error;
use huffwire::gradient::quantize::{
    Keep, Linear, MAX_LEVELS, Natural, Norm, Qsgd, Quantized, Quantizer, Sign, SignScale, Sparsify,
    TernGrad, WHOLE,
};
use huffwire::gradient::{ErrorFeedback, ValueBuf, Values};
use proptest::prelude::*;

use crate::values::gradient;

fn norm2(floats: &[f32]) -> f64 {
    floats.iter().map(|&float| f64::from(float).powi(2)).sum()
}

fn distance2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// What a quantizer gives on average over many seeds, and its mean squared error.
struct Average {
    mean: Vec<f64>,
    variance: Vec<f64>,
    error2: f64,
    norm2: f64,
}

const ROUNDS: u32 = 4000;

fn average(quantizer: Quantizer, floats: &[f32]) -> Average {
    let (mut sum, mut sum2) = (vec![0.0; floats.len()], vec![0.0; floats.len()]);
    let (mut error2, mut all2) = (0.0, 0.0);
    for seed in 0..ROUNDS {
        let quantized = quantizer.quantize(floats, u64::from(seed)).unwrap();
        let near = quantized.dequantize().unwrap();
        for ((sum, sum2), &float) in sum.iter_mut().zip(&mut sum2).zip(&near) {
            *sum += f64::from(float);
            *sum2 += f64::from(float).powi(2);
        }
        error2 += distance2(&near, floats) / f64::from(ROUNDS);
        all2 += norm2(&near) / f64::from(ROUNDS);
    }
    let rounds = f64::from(ROUNDS);
    let mean: Vec<f64> = sum.iter().map(|sum| sum / rounds).collect();
    let pairs = sum2.iter().zip(&mean);
    let variance = pairs.map(|(sum2, mean)| (sum2 / rounds - mean.powi(2)).max(0.0)).collect();
    Average { mean, variance, error2, norm2: all2 }
}

/// The mean of many draws lies within 5 standard errors of what it should be: with seeds that never change
/// this either holds or does not. `most` bounds what one draw may be, which counts where the variance was
/// estimated from few draws that differ.
fn assert_unbiased(average: &Average, expected: &[f32], most: f64) {
    let rounds = f64::from(ROUNDS);
    for (i, &expected) in expected.iter().enumerate() {
        let allowed = 5.0 * (average.variance[i] / rounds).sqrt() + 12.0 * most / rounds;
        let off = (average.mean[i] - f64::from(expected)).abs();
        assert!(off <= allowed, "element {i}: {} for {expected}", average.mean[i]);
    }
}

/// Lemma 3.1 of QSGD.
#[test]
fn qsgd_is_unbiased_and_its_variance_is_bounded() {
    let floats = gradient(200, 1);
    let norm = norm2(&floats).sqrt();
    for levels in [1, 2, 4, 7, 16, 127, 1000] {
        let quantizer = Qsgd { levels, bucket: WHOLE, norm: Norm::L2 };
        let average = average(Quantizer::Qsgd(quantizer), &floats);
        assert_unbiased(&average, &floats, norm / f64::from(levels));
        let (d, s) = (floats.len() as f64, f64::from(levels));
        let bound = (d / s.powi(2)).min(d.sqrt() / s) * norm.powi(2);
        assert!(average.error2 <= bound, "{levels} levels: {} > {bound}", average.error2);
        // Also lemma 3.1: few values are not 0.
        let quantized = Quantizer::Qsgd(quantizer).quantize(&floats, 1).unwrap();
        let others = floats.len() - quantized.values.view().zeros();
        assert!((others as f64) < 2.0 * s * (s + d.sqrt()), "{others} values that are not 0");
    }
}

#[test]
fn qsgd_by_the_largest_float_is_unbiased_and_better() {
    let floats = gradient(300, 2);
    let errors = [Norm::L2, Norm::Max].map(|norm| {
        let quantizer = Quantizer::Qsgd(Qsgd { levels: 7, bucket: 100, norm });
        let average = average(quantizer, &floats);
        assert_unbiased(&average, &floats, 0.1);
        average.error2
    });
    assert!(errors[1] < errors[0]);
}

#[test]
fn terngrad_is_ternary_and_unbiased_up_to_clipping() {
    let floats = gradient(200, 3);
    let unclipped = TernGrad { clip: None, bucket: WHOLE };
    let largest = floats.iter().fold(0.0f32, |largest, float| largest.max(float.abs()));
    assert_unbiased(&average(Quantizer::TernGrad(unclipped), &floats), &floats, largest.into());

    let quantizer = Quantizer::TernGrad(TernGrad::default());
    let quantized = quantizer.quantize(&floats, 0).unwrap();
    let ValueBuf::I8(values) = &quantized.values else { panic!("wide values") };
    assert!(values.iter().all(|value| (-1..=1).contains(value)));
    // Section 3.3: the scale is 2.5 standard deviations.
    let count = floats.len() as f64;
    let mean = floats.iter().map(|&float| f64::from(float)).sum::<f64>() / count;
    let squares: f64 = floats.iter().map(|&float| (f64::from(float) - mean).powi(2)).sum();
    let limit = (2.5 * (squares / count).sqrt()) as f32;
    assert!(limit < largest && quantized.scales == [limit]);
    let clipped: Vec<f32> = floats.iter().map(|float| float.clamp(-limit, limit)).collect();
    assert_unbiased(&average(quantizer, &floats), &clipped, limit.into());
}

/// What is all alike has no outliers; clipped at 2.5 times no deviation, nothing would ever be sent.
#[test]
fn terngrad_sends_floats_that_are_all_alike() {
    for (floats, bucket) in [(vec![0.5; 100], WHOLE), (gradient(20, 1), 1)] {
        let quantizer = Quantizer::TernGrad(TernGrad { clip: Some(2.5), bucket });
        assert_eq!(quantizer.quantize(&floats, 3).unwrap().dequantize().unwrap(), floats);
    }
}

/// Theorem 1 of natural compression.
#[test]
fn natural_compression_is_unbiased_with_a_second_moment_of_nine_eighths() {
    let mut floats = gradient(200, 4);
    floats.extend([0.0, 1.0, -2.0, 1.5, 3e38f32 / 4.0, 1e-45, -7e-45, f32::MIN_POSITIVE]);
    let quantizer = Quantizer::Natural(Natural);
    let average = average(quantizer, &floats);
    for (i, &float) in floats.iter().enumerate() {
        let most = f64::from(float.abs()) * 2.0;
        let one = Average {
            mean: vec![average.mean[i]],
            variance: vec![average.variance[i]],
            error2: 0.0,
            norm2: 0.0,
        };
        assert_unbiased(&one, &[float], most);
        // At most 1/8, reached at 4/3 of a power of two; the sum over elements is the theorem.
        let bound = f64::from(float).powi(2) / 8.0;
        assert!(average.variance[i] <= bound * 1.1 + 1e-90, "{float}");
    }
    assert!(average.norm2 <= 9.0 / 8.0 * norm2(&floats) * 1.02);
    // Powers of two are exact, and stay themselves.
    let powers = [1.0, -0.5, 4.0, 2.0f32.powi(-149), 0.0, -0.0];
    let quantized = quantizer.quantize(&powers, 9).unwrap();
    assert_eq!(quantized.dequantize().unwrap(), powers);
    let worst = self::average(quantizer, &[4.0 / 3.0; 50]);
    assert!((worst.error2 / norm2(&[4.0 / 3.0; 50]) - 0.125).abs() < 0.002);
}

/// Lemma 8 of Karimireddy et al. 2019.
#[test]
fn signs_err_as_the_lemma_says() {
    let floats = gradient(500, 5);
    let near = |scale| {
        let quantizer = Quantizer::Sign(Sign { scale, bucket: WHOLE });
        quantizer.quantize(&floats, 0).unwrap().dequantize().unwrap()
    };
    let norm1: f64 = floats.iter().map(|&float| f64::from(float.abs())).sum();
    let all = norm2(&floats);
    let expected = (1.0 - norm1.powi(2) / (floats.len() as f64 * all)) * all;
    let error = distance2(&near(SignScale::Mean), &floats);
    assert!((error / expected - 1.0).abs() < 1e-5);
    assert!(distance2(&near(SignScale::Means), &floats) <= error * (1.0 + 1e-6));
    assert!(near(SignScale::One).iter().all(|float| float.abs() == 1.0));
}

#[test]
fn top_k_keeps_the_largest_and_random_k_is_unbiased() {
    let floats = gradient(300, 6);
    let top = Sparsify { keep: Keep::Top, share: 0.1 };
    let kept = top.apply(&floats, 0).unwrap();
    assert_eq!(kept.iter().filter(|float| **float != 0.0).count(), 30);
    assert!(kept.iter().zip(&floats).all(|(kept, float)| *kept == 0.0 || kept == float));
    let least = kept.iter().filter(|v| **v != 0.0).fold(f32::MAX, |least, v| least.min(v.abs()));
    let larger = floats.iter().filter(|float| float.abs() > least).count();
    assert!(larger < 30);
    assert!(distance2(&kept, &floats) <= (1.0 - 0.1) * norm2(&floats));

    let random = Sparsify { keep: Keep::Random, share: 0.25 };
    let average = average(Quantizer::Sparsify(random), &floats);
    assert_unbiased(&average, &floats, 0.4);
    let expected = 3.0 * norm2(&floats);
    assert!((average.error2 / expected - 1.0).abs() < 0.05);
}

#[test]
fn int8_is_within_half_a_step_for_a_tensor_and_for_its_channels() {
    let mut floats = gradient(400, 7);
    for float in &mut floats[200..300] {
        *float *= 1e4;
    }
    let mut errors = Vec::new();
    for bucket in [WHOLE, 100] {
        let quantized = Quantizer::Linear(Linear { bucket }).quantize(&floats, 0).unwrap();
        let near = quantized.dequantize().unwrap();
        for (i, (near, float)) in near.iter().zip(&floats).enumerate() {
            let scale = quantized.scales[i / bucket];
            assert!((near - float).abs() <= scale / 2.0 * 1.000_001, "element {i}");
        }
        errors.push(distance2(&near[..100], &floats[..100]));
    }
    assert!(errors[1] < errors[0]);
}

fn quantizers() -> Vec<Quantizer> {
    let mut quantizers = vec![Quantizer::Natural(Natural)];
    for bucket in [1, 7, 512, WHOLE] {
        for levels in [1, 127, 128, MAX_LEVELS] {
            for norm in [Norm::L2, Norm::Max] {
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
    for keep in [Keep::Top, Keep::Random] {
        for share in [1e-9, 0.3, 1.0] {
            quantizers.push(Quantizer::Sparsify(Sparsify { keep, share }));
        }
    }
    quantizers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Lemma 3.1 of QSGD for any floats: over 300 draws the mean error may exceed the bound by some.
    #[test]
    fn qsgd_errs_within_its_bound_whatever_the_floats(
        floats in proptest::collection::vec(-1f32..1.0, 1..40),
        power in 1i32..6,
        levels in 1u32..40,
    ) {
        let floats: Vec<f32> = floats.iter().map(|float| float.powi(power)).collect();
        let quantizer = Quantizer::Qsgd(Qsgd { levels, bucket: WHOLE, norm: Norm::L2 });
        let error = |seed| {
            distance2(&quantizer.quantize(&floats, seed).unwrap().dequantize().unwrap(), &floats)
        };
        let mean = (0..300).map(error).sum::<f64>() / 300.0;
        let (d, s) = (floats.len() as f64, f64::from(levels));
        let bound = (d / s.powi(2)).min(d.sqrt() / s) * norm2(&floats);
        prop_assert!(mean <= bound * 1.3 + 1e-12, "{mean} > {bound}");
    }

    /// Stich et al. 2018, definition 2.1 and lemma A.1: top-k is a contraction by 1 - k/d; and the mean
    /// sign is one by 1 - ‖v‖₁² / (d ‖v‖₂²), at most 1 - 1/d (Karimireddy et al. 2019, lemma 8).
    #[test]
    fn biased_quantizers_are_contractions(
        floats in proptest::collection::vec(-1f32..1.0, 1..60),
        power in 1i32..6,
        share in 0.01f64..1.0,
    ) {
        let floats: Vec<f32> = floats.iter().map(|float| float.powi(power)).collect();
        let d = floats.len() as f64;
        let top = Sparsify { keep: Keep::Top, share };
        let error = distance2(&top.apply(&floats, 0).unwrap(), &floats);
        let bound = (1.0 - top.kept(floats.len()) as f64 / d) * norm2(&floats);
        prop_assert!(error <= bound * (1.0 + 1e-9), "top-k: {error} > {bound}");
        let sign = Quantizer::Sign(Sign::default());
        let error = distance2(&sign.quantize(&floats, 0).unwrap().dequantize().unwrap(), &floats);
        let bound = (1.0 - 1.0 / d) * norm2(&floats);
        prop_assert!(error <= bound + 1e-6 * norm2(&floats), "sign: {error} > {bound}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any finite floats, subnormal and enormous ones among them: values of the alphabet and finite floats,
    /// or a typed error about a range that was left.
    #[test]
    fn any_floats_are_quantized_or_refused(
        bits in proptest::collection::vec(any::<u32>(), 0..60),
        seed in any::<u64>(),
    ) {
        let floats: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for quantizer in quantizers() {
            match quantizer.quantize(&floats, seed) {
                Ok(quantized) => {
                    prop_assert!(floats.iter().all(|float| float.is_finite()));
                    let values = quantized.values.view();
                    let (lowest, highest) = quantizer.alphabet();
                    for i in 0..values.len() {
                        prop_assert!((lowest..=highest).contains(&values.get(i)));
                    }
                    let near = quantized.dequantize().unwrap();
                    prop_assert_eq!(near.len(), floats.len());
                    prop_assert!(near.iter().all(|float| float.is_finite()), "{:?}", quantizer);
                    for (near, float) in near.iter().zip(&floats) {
                        prop_assert!(*near == 0.0 || *float == 0.0 || near.signum() == float.signum());
                    }
                    prop_assert_eq!(quantizer.quantize(&floats, seed).unwrap(), quantized);
                }
                Err(Error::Unquantizable { index, .. }) => prop_assert!(index < floats.len()),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    /// Whatever came over the wire: floats or a typed error.
    #[test]
    fn any_values_are_dequantized_or_refused(
        values in proptest::collection::vec(-300i32..300, 0..40),
        scales in proptest::collection::vec(any::<u32>(), 0..9),
    ) {
        let scales: Vec<f32> = scales.into_iter().map(f32::from_bits).collect();
        for quantizer in quantizers() {
            if let Ok(floats) = quantizer.dequantize(Values::I32(&values), &scales) {
                prop_assert_eq!(floats.len(), values.len());
            }
        }
    }
}

#[test]
fn floats_and_parameters_that_make_no_sense_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for quantizer in quantizers() {
            let error = quantizer.quantize(&[0.0, 1.0, bad], 0).unwrap_err();
            assert!(matches!(error, Error::Unquantizable { index: 2, .. }), "{error}");
        }
    }
    // A norm beyond f32, whose elements are not.
    let qsgd = |levels, bucket| Quantizer::Qsgd(Qsgd { levels, bucket, norm: Norm::L2 });
    let error = qsgd(4, 4).quantize(&[0.0, 0.0, 0.0, 0.0, f32::MAX, f32::MAX], 0).unwrap_err();
    assert!(matches!(error, Error::Unquantizable { index: 4, .. }), "{error}");
    let error = Quantizer::Natural(Natural).quantize(&[1.0, -3e38], 0).unwrap_err();
    assert!(matches!(error, Error::Unquantizable { index: 1, .. }), "{error}");

    let nonsense = [
        qsgd(0, 512),
        qsgd(MAX_LEVELS + 1, 512),
        qsgd(4, 0),
        Quantizer::TernGrad(TernGrad { clip: Some(0.0), bucket: WHOLE }),
        Quantizer::TernGrad(TernGrad { clip: Some(f32::NAN), bucket: WHOLE }),
        Quantizer::TernGrad(TernGrad { clip: None, bucket: 0 }),
        Quantizer::Sign(Sign { scale: SignScale::Mean, bucket: 0 }),
        Quantizer::Linear(Linear { bucket: 0 }),
        Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.0 }),
        Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 1.5 }),
        Quantizer::Sparsify(Sparsify { keep: Keep::Random, share: f64::NAN }),
    ];
    for quantizer in nonsense {
        let error = quantizer.quantize(&[1.0], 0).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{quantizer:?}: {error}");
        assert!(quantizer.dequantize(Values::I8(&[1]), &[1.0]).is_err(), "{quantizer:?}");
    }
}

#[test]
fn values_and_scales_of_no_quantizer_are_refused() {
    let refused = |quantizer: Quantizer, values: &[i32], scales: &[f32]| {
        let error = quantizer.dequantize(Values::I32(values), scales).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{quantizer:?}: {error}");
    };
    let qsgd = Quantizer::Qsgd(Qsgd { levels: 4, bucket: 2, norm: Norm::L2 });
    refused(qsgd, &[5, 0], &[1.0]);
    refused(qsgd, &[i32::MIN, 0], &[1.0]);
    refused(qsgd, &[0, 0, 0], &[1.0]);
    refused(qsgd, &[0, 0], &[f32::NAN]);
    refused(Quantizer::TernGrad(TernGrad::default()), &[2], &[1.0]);
    refused(Quantizer::Natural(Natural), &[279], &[1.0]);
    refused(Quantizer::Natural(Natural), &[1], &[]);
    refused(Quantizer::Sign(Sign::default()), &[0], &[1.0]);
    refused(Quantizer::Linear(Linear::default()), &[-128], &[1.0]);
    let sparse = Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.5 });
    refused(sparse, &[1, 1], &[1.0]);
    refused(sparse, &[1, 0], &[1.0, 2.0]);
    refused(sparse, &[2, 0], &[1.0]);
}

#[test]
fn zeros_and_nothing_stay_what_they_are() {
    for quantizer in quantizers() {
        let zeros = quantizer.quantize(&[0.0; 20], 1).unwrap();
        let expected = match quantizer {
            Quantizer::Sign(Sign { scale: SignScale::One, .. }) => [1.0; 20],
            _ => [0.0; 20],
        };
        assert_eq!(zeros.dequantize().unwrap(), expected, "{quantizer:?}");
        assert!(quantizer.quantize(&[], 1).unwrap().dequantize().unwrap().is_empty());
    }
}

#[test]
fn error_feedback_sends_everything_in_the_end() {
    let gradient = gradient(200, 8);
    let quantizers = [
        Quantizer::Sign(Sign { scale: SignScale::Mean, bucket: 50 }),
        Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.05 }),
        Quantizer::Qsgd(Qsgd { levels: 15, bucket: 50, norm: Norm::Max }),
    ];
    for quantizer in quantizers {
        let mut memory = ErrorFeedback::new(gradient.len());
        let mut sent = vec![0.0f64; gradient.len()];
        for step in 0..500 {
            let quantized: Quantized = memory.quantize(&quantizer, &gradient, step).unwrap();
            let floats = quantized.dequantize().unwrap();
            sent.iter_mut().zip(floats).for_each(|(sent, float)| *sent += f64::from(float));
        }
        // What was not sent is in the memory, to within rounding.
        for ((sent, left), float) in sent.iter().zip(memory.residual()).zip(&gradient) {
            let whole = sent + f64::from(*left);
            assert!((whole - 500.0 * f64::from(*float)).abs() < 1e-3, "{quantizer:?}");
        }
        let before = memory.clone();
        assert!(memory.quantize(&quantizer, &[f32::NAN; 200], 0).is_err());
        assert!(memory.quantize(&quantizer, &[0.0; 199], 0).is_err());
        assert_eq!(memory, before);
        assert_eq!(ErrorFeedback::from_residual(before.residual().to_vec()), before);
    }
}
