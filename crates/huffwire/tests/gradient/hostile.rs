//! Streams from outside: cut, flipped, lying. Never a panic, never memory on a claim.

use huffwire::gradient::encode::{self, Bitmap, BitmapBooks, Fixed, ValueEncoder};
use huffwire::gradient::{Random, Values, ValuesMut};
use proptest::prelude::*;

use crate::encoders::encoders;
use crate::values::qsgd_like;

fn streams(values: &[i8]) -> Vec<(Box<dyn ValueEncoder>, Vec<u8>)> {
    let stream = |encoder: Box<dyn ValueEncoder>| {
        let mut stream = Vec::new();
        encoder.encode(values.into(), &mut stream).unwrap();
        (encoder, stream)
    };
    encoders().into_iter().map(stream).collect()
}

fn decode(encoder: &dyn ValueEncoder, stream: &[u8], count: usize) -> Option<Vec<i8>> {
    // Both widths take their own ways.
    let mut wide = vec![9i32; count];
    let wide_result = encoder.decode(stream, wide[..].as_mut().into());
    let mut narrow = vec![9i8; count];
    let result = encoder.decode(stream, narrow[..].as_mut().into());
    assert!(result.is_err() || wide_result.is_ok());
    result.ok().map(|()| narrow)
}

#[test]
fn streams_that_were_cut_are_refused() {
    for (count, zeros) in [(300, 80.0), (40, 0.0), (12_000, 97.0)] {
        let values = qsgd_like(count, zeros, 4, 5);
        for (encoder, stream) in streams(&values) {
            let step = (stream.len() / 150).max(1);
            for cut in (0..stream.len()).step_by(step).chain([stream.len() - 1]) {
                let decoded = decode(&*encoder, &stream[..cut], count);
                // The last byte of `auto` tells the encoder: with that gone, another may be named, which
                // then finds something else, or the same.
                if encoder.name() != "auto" {
                    assert!(decoded.is_none(), "{} of {count} cut at {cut}", encoder.name());
                }
            }
        }
    }
}

#[test]
fn streams_with_more_behind_them_are_refused() {
    let values = qsgd_like(300, 80.0, 4, 5);
    for (encoder, stream) in streams(&values) {
        for more in [0, 0xff] {
            let mut longer = stream.clone();
            longer.push(more);
            let refused = decode(&*encoder, &longer, 300).is_none();
            assert!(refused || encoder.name() == "auto", "{} and {more}", encoder.name());
        }
    }
}

#[test]
fn flipped_bits_give_values_or_an_error() {
    for (count, zeros) in [(200, 70.0), (9000, 95.0), (40_000, 50.0)] {
        let values = qsgd_like(count, zeros, 4, 6);
        let random = Random::new(1);
        for (encoder, stream) in streams(&values) {
            let bits = 8 * stream.len() as u64;
            for flip in 0..bits.min(300) {
                // The front, where structure is, and anywhere.
                let bit = if flip < 150 { flip } else { random.below(flip, bits) } as usize;
                let mut flipped = stream.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                decode(&*encoder, &flipped, count);
            }
        }
    }
}

#[test]
fn another_number_of_values_is_refused() {
    let values = qsgd_like(300, 80.0, 4, 5);
    for (encoder, stream) in streams(&values) {
        for count in [0, 1, 299, 301, 5000] {
            let mut room = vec![0i8; count];
            assert!(encoder.decode(&stream, room[..].as_mut().into()).is_err());
        }
    }
    for claim in
        [&[][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
    {
        for encoder in encoders() {
            assert!(encoder.decode(claim, ValuesMut::I8(&mut [])).is_err());
        }
    }
}

#[test]
fn streams_of_other_codebooks_are_refused() {
    let (a, b) = (qsgd_like(5000, 90.0, 4, 1), qsgd_like(5000, 30.0, 4, 2));
    let fixed = |values: &[i8]| Fixed::train(encode::RunAlphabet::Pairs, [values.into()]).unwrap();
    let mut stream = Vec::new();
    fixed(&a).encode(Values::I8(&a), &mut stream).unwrap();
    let mut room = vec![0i8; a.len()];
    let error = fixed(&b).decode(&stream, room[..].as_mut().into()).unwrap_err();
    assert!(matches!(error, huffwire::Error::SetMismatch { .. }), "{error}");
    // A bitmap does not tell its set, but a decoder without one knows that it has none.
    let bitmap = |values: &[i8]| {
        Bitmap::with_books(BitmapBooks::train([Values::I8(values)]).unwrap().into())
    };
    let mut stream = Vec::new();
    bitmap(&a).encode(Values::I8(&a), &mut stream).unwrap();
    let mut room = vec![0i8; a.len()];
    let error = Bitmap::default().decode(&stream, room[..].as_mut().into()).unwrap_err();
    assert!(matches!(error, huffwire::Error::UnknownCodebook { .. }), "{error}");
    decode(&bitmap(&b), &stream, a.len());
    let mut stream = Vec::new();
    Bitmap::default().encode(Values::I8(&a), &mut stream).unwrap();
    bitmap(&b).decode(&stream, room[..].as_mut().into()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_bytes_are_values_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ones in any::<bool>(),
        count in 0usize..500,
    ) {
        let mut stream = Vec::new();
        let mut number = count;
        while number >= 0x80 {
            stream.push(number as u8 | 0x80);
            number >>= 7;
        }
        stream.push(number as u8);
        stream.extend(bytes.iter().map(|&byte| if ones { byte | byte >> 1 } else { byte & byte >> 2 }));
        for encoder in encoders() {
            decode(&*encoder, &stream, count);
        }
    }

    #[test]
    fn any_bytes_are_codebooks_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(book) = Fixed::from_bytes(&bytes) {
            prop_assert_eq!(book.to_bytes(), bytes.clone());
        }
    }
}

/// What asks for long numbers: nothing but zeros, nothing but ones, a 1 at the end of many zeros.
#[test]
fn numbers_beyond_all_bounds_are_refused() {
    for body in [vec![0u8; 100], vec![0xff; 100], [vec![0; 6], vec![0x10], vec![0xff; 50]].concat()]
    {
        for encoder in encoders() {
            for count in [1u8, 100] {
                let stream = [&[count][..], &body].concat();
                decode(&*encoder, &stream, count.into());
            }
        }
    }
}
