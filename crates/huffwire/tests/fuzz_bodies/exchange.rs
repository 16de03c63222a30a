//! Pieces of quantized gradients, of whose quantizer and size both ends know.

use huffwire::gradient::exchange::{ExchangeCodec, Piece, Restored};
use huffwire::gradient::quantize::{Linear, Norm, Qsgd, Quantizer, Sign, SignScale, TernGrad};
use huffwire::{Dtype, Error};

use super::Recipe;

/// One of each kind, with small buckets and large ones. Few: each has codebooks that are made first.
pub const EXCHANGED: [Quantizer; 7] = [
    Quantizer::Qsgd(Qsgd { levels: 1, bucket: 16, norm: Norm::L2 }),
    Quantizer::Qsgd(Qsgd { levels: 4, bucket: 512, norm: Norm::Max }),
    Quantizer::Qsgd(Qsgd { levels: 127, bucket: 48, norm: Norm::Max }),
    Quantizer::TernGrad(TernGrad { clip: Some(2.5), bucket: 64 }),
    Quantizer::Sign(Sign { scale: SignScale::Means, bucket: 32 }),
    Quantizer::Sign(Sign { scale: SignScale::One, bucket: 512 }),
    Quantizer::Linear(Linear { bucket: 64 }),
];

/// Any bytes as a piece: restored or refused, in every way alike; and pieces of any gradient come back.
pub fn exchange(data: &[u8]) {
    let mut recipe = Recipe(data);
    let quantizer = EXCHANGED[usize::from(recipe.byte()) % EXCHANGED.len()];
    let mut codec = ExchangeCodec::new(quantizer).expect("a quantizer for pieces");
    let count = usize::from(recipe.byte()) * 8;
    any_piece(&mut codec, recipe.0, count);

    let seed = recipe.byte().into();
    let bytes = recipe.tensor(Dtype::F32);
    let floats = bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float));
    // Other floats are no error, but then the kept error is not what the restored floats lack.
    let floats: Vec<f32> = floats.map(|v| if v.abs() < 1e30 { v } else { 1.0 }).collect();
    let mut piece = vec![0; codec.bound(floats.len())];
    let (mut here, mut error) = (vec![9.0; floats.len()], vec![0.0; floats.len()]);
    let gradient = Piece::new(&floats).seed(seed).error(&mut error, 1.0);
    let sent = codec.encode(gradient, Some(Restored::Put(&mut here)), &mut piece);
    let sent = sent.expect("as much room as was asked for");
    assert_eq!(sent.not_finite, 0, "{quantizer}");
    piece.truncate(sent.bytes);
    let there = any_piece(&mut codec, &piece, floats.len()).expect("what was just encoded");
    assert_eq!(bits(&here), bits(&there), "{quantizer}");

    let length = floats.len();
    recipe.edit(&mut piece);
    any_piece(&mut codec, &piece, length);
    // The other end may expect another size.
    any_piece(&mut codec, &piece, length / 2);
}

/// The floats of a piece, if it is one.
fn any_piece(codec: &mut ExchangeCodec, piece: &[u8], count: usize) -> Option<Vec<f32>> {
    let (mut put, mut sum, mut mean) = (vec![3.0; count], vec![0.0; count], vec![0.0; count]);
    let restored = codec.decode(piece, Restored::Put(&mut put));
    // Nothing is left of the call before.
    assert_eq!(codec.decode(piece, Restored::Add(&mut sum)), restored);
    assert_eq!(codec.decode(piece, Restored::Mean(&mut mean, 1.0)), restored);
    match restored {
        Ok(()) => {
            let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
            assert!(put.iter().zip(&sum).all(|(put, sum)| same(*put, *sum)));
            assert!(sum.iter().zip(&mean).all(|(sum, mean)| same(*sum, *mean)));
            Some(put)
        }
        Err(
            Error::Truncated { .. }
            | Error::Malformed { .. }
            | Error::UnknownCodebook { .. }
            | Error::InvalidCodebook(_),
        ) => None,
        Err(other) => panic!("{other:?} is no error of a piece"),
    }
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}
