use super::super::quantize::{
    Linear, Natural, Norm, Qsgd, Sign, SignScale, TernGrad, WHOLE, samples,
};
use super::*;
use crate::gradient::Random;

fn quantizers() -> Vec<Quantizer> {
    samples::bucketed(&[16, 48, 512, 4096], &[1, 4, 127])
}

fn floats(count: usize, seed: u64) -> Vec<f32> {
    samples::floats(count, seed, 12)
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}

/// A piece is quantized as a whole tensor is, and all ways to restore it give the same floats.
#[test]
fn a_piece_holds_what_the_quantizer_makes() {
    for quantizer in quantizers() {
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        for count in [0, 1, 47, 513, 5000] {
            let (gradient, before) = (floats(count, 1), floats(count, 2));
            let mut due_error = before.clone();
            let mut due = super::super::quantize::Quantized::empty(quantizer);
            quantizer.quantize_with_error(&gradient, &mut due_error, 0.5, 9, &mut due).unwrap();
            let due = due.dequantize().unwrap();

            let mut error = before.clone();
            let mut bytes = vec![0; codec.bound(count)];
            let piece = Piece::new(&gradient).seed(9).error(&mut error, 0.5);
            let sent = codec.encode(piece, None, &mut bytes).unwrap();
            assert_eq!((bits(&error), sent.not_finite), (bits(&due_error), 0), "{quantizer}");
            let mut restored = vec![7.0; count];
            let bytes = &bytes[..sent.bytes];
            codec.decode(bytes, Restored::Put(&mut restored)).unwrap();
            assert_eq!(bits(&restored), bits(&due), "{quantizer} {count}");

            let mut sum = floats(count, 3);
            let sums: Vec<f32> = sum.iter().zip(&due).map(|(a, b)| a + b).collect();
            codec.decode(bytes, Restored::Add(&mut sum)).unwrap();
            assert_eq!(bits(&sum), bits(&sums));

            let mut kept = vec![0.0; count];
            let mut error = before.clone();
            let piece = Piece::new(&gradient).seed(9).error(&mut error, 0.5);
            assert_eq!(codec.keep(piece, Restored::Put(&mut kept)), Ok(0));
            assert_eq!((bits(&kept), bits(&error)), (bits(&due), bits(&due_error)));

            let (mut mean, mut error) = (floats(count, 3), before.clone());
            let mut again = vec![0; codec.bound(count)];
            let piece = Piece::new(&gradient).seed(9).error(&mut error, 0.5);
            let target = Some(Restored::Mean(&mut mean, 3.0));
            assert_eq!(codec.encode(piece, target, &mut again), Ok(sent));
            let means: Vec<f32> = sums.iter().map(|sum| sum / 3.0).collect();
            assert_eq!((&again[..sent.bytes], bits(&mean)), (bytes, bits(&means)));
            let mut mean = floats(count, 3);
            codec.decode(bytes, Restored::Mean(&mut mean, 3.0)).unwrap();
            assert_eq!(bits(&mean), bits(&means));
        }
    }
}

#[test]
fn pieces_do_not_show_where_they_were_cut() {
    for quantizer in quantizers() {
        let Some((bucket, _)) = quantizer.buckets() else { continue };
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        let gradient = floats(3 * bucket + 5, 4);
        let mut whole = gradient.clone();
        codec.keep(Piece::new(&gradient).seed(5), Restored::Put(&mut whole)).unwrap();
        for (number, part) in gradient.chunks(2 * bucket).enumerate() {
            let first = number * 2 * bucket;
            let mut restored = vec![0.0; part.len()];
            let piece = Piece::new(part).seed(5).first(first as u64);
            codec.keep(piece, Restored::Put(&mut restored)).unwrap();
            assert_eq!(restored, whole[first..][..part.len()], "{quantizer}");
        }
    }
}

/// Two buckets of five are not finite: they become NaN, their error stays, and the others are as they would be.
#[test]
fn what_is_not_finite_stays_in_its_bucket() {
    for quantizer in quantizers() {
        let Some((bucket, _)) = quantizer.buckets() else { continue };
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        let clean = floats(5 * bucket, 6);
        let mut gradient = clean.clone();
        gradient[bucket + 3] = f32::NAN;
        gradient[5 * bucket - 1] = f32::NEG_INFINITY;
        let of = |codec: &mut ExchangeCodec, floats: &[f32]| {
            let mut error = vec![0.25; floats.len()];
            let mut bytes = vec![0; codec.bound(floats.len())];
            let piece = Piece::new(floats).seed(3).error(&mut error, 1.0);
            let sent = codec.encode(piece, None, &mut bytes).unwrap();
            let mut restored = vec![0.0; floats.len()];
            codec.decode(&bytes[..sent.bytes], Restored::Put(&mut restored)).unwrap();
            (restored, error, sent.not_finite)
        };
        let (due, due_error, none) = of(&mut codec, &clean);
        let (found, error, some) = of(&mut codec, &gradient);
        assert_eq!((none, some), (0, 2), "{quantizer}");
        for start in (0..5 * bucket).step_by(bucket) {
            let here = start..start + bucket;
            if start == bucket || start == 4 * bucket {
                assert!(found[here.clone()].iter().all(|float| float.is_nan()));
                assert!(error[here].iter().all(|error| *error == 0.25));
            } else {
                assert_eq!(found[here.clone()], due[here.clone()]);
                assert_eq!(error[here.clone()], due_error[here]);
            }
        }
    }
}

/// Whatever the values are, a piece keeps to its bound, and normally distributed gradients take few bits.
#[test]
fn pieces_are_small() {
    for quantizer in quantizers() {
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        for share in [0, 1, 20, 1000] {
            let random = Random::new(share);
            let scale = |i| if random.below(i, 1000) < share { 1.0 } else { 1e-3 };
            let gradient: Vec<f32> =
                (0..20_000).map(|i| scale(i) * (random.uniform(i) as f32 - 0.5)).collect();
            let mut bytes = vec![0; codec.bound(gradient.len())];
            let sent = codec.encode(Piece::new(&gradient), None, &mut bytes).unwrap();
            assert!(sent.bytes <= bytes.len(), "{quantizer}");
        }
    }
    let normal: Vec<f32> = (0..200_000)
        .map(|i| {
            let random = Random::new(77);
            (0..12).map(|j| random.uniform(12 * i + j) as f32).sum::<f32>() - 6.0
        })
        .collect();
    for (quantizer, most) in [
        (Quantizer::Qsgd(Qsgd { levels: 4, bucket: 512, norm: Norm::Max }), 2.75),
        (Quantizer::TernGrad(TernGrad { clip: None, bucket: 512 }), 1.45),
        (Quantizer::Sign(Sign { scale: SignScale::Mean, bucket: 512 }), 1.08),
        (Quantizer::Linear(Linear { bucket: 512 }), 7.8),
    ] {
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        let mut bytes = vec![0; codec.bound(normal.len())];
        let sent = codec.encode(Piece::new(&normal), None, &mut bytes).unwrap();
        let bits = 8.0 * sent.bytes as f64 / normal.len() as f64;
        assert!(bits < most, "{quantizer}: {bits} bits");
    }
}

#[test]
fn foreign_bytes_are_refused() {
    for quantizer in quantizers() {
        let mut codec = ExchangeCodec::new(quantizer).unwrap();
        let gradient = floats(2000, 8);
        let mut bytes = vec![0; codec.bound(gradient.len())];
        let sent = codec.encode(Piece::new(&gradient), None, &mut bytes).unwrap();
        let bytes = &bytes[..sent.bytes];
        let mut restored = vec![0.0; 2000];
        for length in (0..40).chain([bytes.len() - 1]) {
            assert!(codec.decode(&bytes[..length], Restored::Put(&mut restored)).is_err());
        }
        assert!(codec.decode(bytes, Restored::Put(&mut restored[..1999])).is_err());
        let mut foreign = bytes.to_vec();
        foreign[0] = 250;
        assert!(codec.decode(&foreign, Restored::Put(&mut restored)).is_err());
        let mut infinite = bytes.to_vec();
        infinite[1..5].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(codec.decode(&infinite, Restored::Put(&mut restored)).is_err());
        let random = Random::new(1);
        for turn in 0..200 {
            // A flipped bit may give other values, but never a panic.
            let mut damaged = bytes.to_vec();
            let place = random.below(turn, damaged.len() as u64) as usize;
            damaged[place] ^= 1 << random.below(turn + 1000, 8);
            let _ = codec.decode(&damaged, Restored::Put(&mut restored));
        }
    }
}

#[test]
fn wrong_uses_are_errors() {
    let max = |levels, bucket| Quantizer::Qsgd(Qsgd { levels, bucket, norm: Norm::Max });
    for quantizer in
        [max(128, 512), max(4, 8), max(4, 500), max(4, WHOLE), Quantizer::Natural(Natural)]
    {
        assert!(matches!(ExchangeCodec::new(quantizer), Err(Error::InvalidOption(_))));
    }
    let mut codec = ExchangeCodec::new(max(4, 512)).unwrap();
    let gradient = vec![1.0; 1024];
    let (mut error, mut bytes) = (vec![0.0; 1000], vec![0; codec.bound(1024)]);
    let piece = Piece::new(&gradient).error(&mut error, 1.0);
    assert!(codec.encode(piece, None, &mut bytes).is_err());
    assert!(codec.encode(Piece::new(&gradient).first(100), None, &mut bytes).is_err());
    assert!(codec.encode(Piece::new(&gradient), None, &mut bytes[..1000]).is_err());
    assert!(codec.keep(Piece::new(&gradient), Restored::Put(&mut error)).is_err());
    let many = vec![0.0; MOST_ELEMENTS + 1];
    let mut bytes = vec![0; codec.bound(many.len())];
    assert!(codec.encode(Piece::new(&many), None, &mut bytes).is_err());
    assert_eq!(codec.id(), ExchangeCodec::new(max(4, 512)).unwrap().id());
    assert_ne!(codec.id(), ExchangeCodec::new(max(5, 512)).unwrap().id());
}
