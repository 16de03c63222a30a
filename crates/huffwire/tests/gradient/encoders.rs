//! Encoders lose nothing, whatever the values are.

use std::sync::Arc;

use huffwire::gradient::encode::{
    self, Auto, Bitmap, BitmapBooks, Depth, Fixed, RunAlphabet, Sh, Shs, Sizes, ValueEncoder,
};
use huffwire::gradient::{ValueBuf, Values};
use huffwire::{Error, Platform};
use proptest::prelude::*;

use crate::values::qsgd_like;

/// Encoders of all kinds; those with fixed codebooks hold books of values that may be quite different.
pub(crate) fn encoders() -> Vec<Box<dyn ValueEncoder>> {
    let mut encoders = encode::all(-4, 4);
    encoders.push(Box::new(Sh::new(0, 0).with_seed(7)));
    encoders.push(Box::new(Shs::new(-1, 1).with_seed(7).with_runs(1)));
    encoders.push(Box::new(Shs::new(-300, 300).with_runs(encode::MAX_RUNS)));
    for earlier in [qsgd_like(5000, 60.0, 4, 9), vec![0; 100], vec![1; 100]] {
        let earlier = [Values::I8(&earlier)];
        for alphabet in [RunAlphabet::Values, RunAlphabet::Pairs, RunAlphabet::ZeroRuns(9)] {
            encoders.push(Box::new(Fixed::train(alphabet, earlier).unwrap()));
        }
        let books = Arc::new(BitmapBooks::train(earlier).unwrap());
        encoders.push(Box::new(Bitmap::with_books(books)));
    }
    encoders.push(Box::new(Fixed::train(RunAlphabet::Pairs, []).unwrap()));
    for splits in 0..=4 {
        encoders.push(Box::new(Bitmap::default().with_depth(Depth::Splits(splits))));
    }
    encoders.push(Box::new(Auto));
    encoders
}

/// Encodes and decodes in either width; the bytes must be the same.
pub(crate) fn round_trip(encoder: &dyn ValueEncoder, values: &[i32]) -> (Vec<u8>, Sizes) {
    let mut stream = vec![0xaa];
    let sizes = encoder.encode(values.into(), &mut stream).unwrap();
    assert_eq!(stream[0], 0xaa, "it appends");
    stream.remove(0);
    assert_eq!(stream.len(), sizes.total);
    assert!(sizes.codebook <= sizes.total);
    assert_eq!(encode::count(&stream).unwrap(), values.len());
    let mut decoded = vec![77i32; values.len()];
    encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
    assert!(decoded == values, "{}", encoder.name());

    let mut narrow = vec![77i8; values.len()];
    let result = encoder.decode(&stream, narrow[..].as_mut().into());
    match ValueBuf::new(values.to_vec()) {
        ValueBuf::I8(expected) => {
            result.unwrap();
            assert!(narrow == expected, "{}", encoder.name());
            let mut again = Vec::new();
            encoder.encode(expected[..].into(), &mut again).unwrap();
            assert!(again == stream, "{}: another width, other bytes", encoder.name());
        }
        ValueBuf::I32(_) => assert!(result.is_err(), "{}", encoder.name()),
    }
    (stream, sizes)
}

fn all_round_trip(values: &[i32]) {
    for encoder in encoders() {
        round_trip(&*encoder, values);
    }
}

#[test]
fn nasty_values_round_trip() {
    all_round_trip(&[]);
    for alone in [0, 1, -1, 127, -128, 128, i32::MAX, i32::MIN] {
        for count in [1, 2, 7, 8, 9, 63, 64, 65, 200, 201, 1000, 20_000] {
            all_round_trip(&vec![alone; count]);
        }
    }
    let alternating: Vec<i32> = (0..5000).map(|i| [i32::MAX, i32::MIN][i % 2]).collect();
    all_round_trip(&alternating);
    let dense: Vec<i32> = (0..5000).map(|i| 1 + i % 4).collect();
    all_round_trip(&dense);
    let distinct: Vec<i32> = (0..3000).map(|i| i * 700_001 - (1 << 30)).collect();
    all_round_trip(&distinct);
}

/// Longer than any table, in front, between and behind.
#[test]
fn long_runs_round_trip() {
    for run in [200, 201, 399, 400, 1023, 1024, 1025, 70_000] {
        for value in [0, -3] {
            let mut values = vec![value; run];
            values.extend([2, 0, 0, -1]);
            values.extend(vec![value; run]);
            values.push(1);
            values.extend(vec![value; run]);
            all_round_trip(&values);
        }
    }
}

#[test]
fn more_pairs_than_codes_round_trip() {
    let values: Vec<i32> = (0..150_000).map(|i| i % 75_000).collect();
    round_trip(&encode::Rlh, &values);
    round_trip(&encode::Huffman, &values);
}

/// Runs and blocks beyond one of a million values.
#[test]
fn the_largest_bitmap_round_trips() {
    let mut values = qsgd_like(1 << 20, 93.0, 6, 1);
    values[400_000..700_000].fill(0);
    values[1_000_000] = -128;
    let wide: Vec<i32> = values.iter().map(|&value| value.into()).collect();
    let (stream, _) = round_trip(&Bitmap::default(), &wide);
    let books = Arc::new(BitmapBooks::train([Values::I8(&values[..100_000])]).unwrap());
    round_trip(&Bitmap::with_books(books), &wide);
    for platform in Platform::available() {
        let mut other = Vec::new();
        let encoder = Bitmap::default().with_platform(platform);
        encoder.encode(Values::I32(&wide), &mut other).unwrap();
        assert!(other == stream, "{platform} writes other bytes");
        let mut decoded = vec![0i8; values.len()];
        encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
        assert!(decoded == values);
    }
}

#[test]
fn bitmaps_have_a_largest_size_and_the_others_have_none() {
    let values = qsgd_like((1 << 20) + 1, 93.0, 6, 1);
    let wide: Vec<i32> = values.iter().map(|&value| value.into()).collect();
    let mut stream = vec![7];
    let error = Bitmap::default().encode(Values::I8(&values), &mut stream).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 0x10_0000, .. }), "{error}");
    assert_eq!(stream, [7], "nothing is appended");
    round_trip(&encode::Rlh, &wide);
    // Values that a bitmap would be the best for.
    let (stream, _) = round_trip(&Auto, &wide);
    assert_ne!(Auto::chosen(&stream).unwrap(), "bitmap");
    assert_eq!(Auto::choose(Values::I8(&values[1..])), "bitmap");
    let claim = [0x81, 0x80, 0x40];
    assert_eq!(encode::count(&claim), Ok(values.len()));
    let mut room = vec![0i8; values.len()];
    let error = Bitmap::default().decode(&claim, room[..].as_mut().into()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

fn any_values() -> impl Strategy<Value = Vec<i32>> {
    let value = prop_oneof![
        20 => Just(0),
        6 => -2..=2,
        3 => -130..=130,
        1 => any::<i32>(),
    ];
    let run = prop_oneof![8 => 1usize..4, 3 => 1usize..300, 1 => 1usize..3000];
    // Some tensors are only small, some only zeros and signs.
    let runs = proptest::collection::vec((value, run), 0..80);
    (runs, prop_oneof![Just(i32::MAX), Just(127), Just(4), Just(1)]).prop_map(|(runs, most)| {
        let value = |value: i32| if most == i32::MAX { value } else { value % (most + 1) };
        let values = runs.into_iter().map(|(s, run)| std::iter::repeat_n(value(s), run));
        values.flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_values_round_trip(values in any_values()) {
        all_round_trip(&values);
    }

    #[test]
    fn all_platforms_write_and_read_the_same(
        seed in any::<u64>(),
        count in 0usize..40_000,
        zeros in 0f64..101.0,
    ) {
        let values = qsgd_like(count, zeros, 5, seed);
        let books = Arc::new(BitmapBooks::train([Values::I8(&qsgd_like(9000, zeros, 4, 1))]).unwrap());
        for books in [None, Some(books)] {
            let encoder = books.map_or_else(Bitmap::default, Bitmap::with_books);
            let mut first = None;
            for platform in Platform::available() {
                let encoder = encoder.clone().with_platform(platform);
                let mut stream = Vec::new();
                encoder.encode(Values::I8(&values), &mut stream).unwrap();
                let mut decoded = vec![1i8; count];
                encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
                prop_assert!(decoded == values);
                prop_assert!(*first.get_or_insert_with(|| stream.clone()) == stream);
            }
        }
    }
}

/// Memory is used again, whatever came before.
#[test]
fn an_encoder_serves_tensors_of_any_size_one_after_the_other() {
    let encoder = Bitmap::default();
    for (count, zeros) in [(300_000, 90.0), (10, 0.0), (70_000, 99.9), (0, 0.0), (300_000, 20.0)] {
        let values: Vec<i32> = qsgd_like(count, zeros, 5, 3).into_iter().map(i32::from).collect();
        let (stream, _) = round_trip(&encoder, &values);
        assert_eq!(stream, round_trip(&Bitmap::default(), &values).0);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |encoder: &dyn ValueEncoder| {
        let error = encoder.encode(Values::I8(&[1]), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, huffwire::Error::InvalidOption(_)), "{error}");
    };
    refused(&Sh::new(1, 0));
    refused(&Sh::new(i32::MIN, i32::MAX));
    refused(&Shs::new(-1, 1).with_runs(0));
    refused(&Shs::new(-1, 1).with_runs(encode::MAX_RUNS + 1));
    refused(&Bitmap::default().with_depth(Depth::Splits(5)));
    assert!(Fixed::train(RunAlphabet::ZeroRuns(0), []).is_err());
    assert!(BitmapBooks::train([]).is_err());
}
