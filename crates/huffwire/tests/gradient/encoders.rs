//! Encoders lose nothing, whatever the states are.

use std::sync::Arc;

use huffwire::Platform;
use huffwire::gradient::encode::{
    self, Alphabet, Auto, Bitmap, BitmapBooks, Depth, Fixed, Sh, Shs, Sizes, StateEncoder,
};
use huffwire::gradient::{StateBuf, States};
use proptest::prelude::*;

use crate::states::qsgd_like;

/// Encoders of all kinds; those with fixed codebooks hold books of states that may be quite different.
pub(crate) fn encoders() -> Vec<Box<dyn StateEncoder>> {
    let mut encoders = encode::all(-4, 4);
    encoders.push(Box::new(Sh::new(0, 0).with_seed(7)));
    encoders.push(Box::new(Shs::new(-1, 1).with_seed(7).with_runs(1)));
    encoders.push(Box::new(Shs::new(-300, 300).with_runs(encode::MAX_RUNS)));
    for earlier in [qsgd_like(5000, 60.0, 4, 9), vec![0; 100], vec![1; 100]] {
        let earlier = [States::I8(&earlier)];
        for alphabet in [Alphabet::States, Alphabet::Pairs, Alphabet::ZeroRuns(9)] {
            encoders.push(Box::new(Fixed::train(alphabet, earlier).unwrap()));
        }
        let books = Arc::new(BitmapBooks::train(earlier).unwrap());
        encoders.push(Box::new(Bitmap::with_books(books)));
    }
    encoders.push(Box::new(Fixed::train(Alphabet::Pairs, []).unwrap()));
    for splits in 0..=4 {
        encoders.push(Box::new(Bitmap::default().with_depth(Depth::Splits(splits))));
    }
    encoders.push(Box::new(Auto));
    encoders
}

/// Encodes and decodes in either width; the bytes must be the same.
pub(crate) fn round_trip(encoder: &dyn StateEncoder, states: &[i32]) -> (Vec<u8>, Sizes) {
    let mut stream = vec![0xaa];
    let sizes = encoder.encode(states.into(), &mut stream).unwrap();
    assert_eq!(stream[0], 0xaa, "it appends");
    stream.remove(0);
    assert_eq!(stream.len(), sizes.total);
    assert!(sizes.codebook <= sizes.total);
    assert_eq!(encode::count(&stream).unwrap(), states.len());
    let mut decoded = vec![77i32; states.len()];
    encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
    assert!(decoded == states, "{}", encoder.name());

    let mut narrow = vec![77i8; states.len()];
    let result = encoder.decode(&stream, narrow[..].as_mut().into());
    match StateBuf::new(states.to_vec()) {
        StateBuf::I8(expected) => {
            result.unwrap();
            assert!(narrow == expected, "{}", encoder.name());
            let mut again = Vec::new();
            encoder.encode(expected[..].into(), &mut again).unwrap();
            assert!(again == stream, "{}: another width, other bytes", encoder.name());
        }
        StateBuf::I32(_) => assert!(result.is_err(), "{}", encoder.name()),
    }
    (stream, sizes)
}

fn all_round_trip(states: &[i32]) {
    for encoder in encoders() {
        round_trip(&*encoder, states);
    }
}

#[test]
fn nasty_states_round_trip() {
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
        for state in [0, -3] {
            let mut states = vec![state; run];
            states.extend([2, 0, 0, -1]);
            states.extend(vec![state; run]);
            states.push(1);
            states.extend(vec![state; run]);
            all_round_trip(&states);
        }
    }
}

#[test]
fn more_pairs_than_codes_round_trip() {
    let states: Vec<i32> = (0..150_000).map(|i| i % 75_000).collect();
    round_trip(&encode::Rlh, &states);
    round_trip(&encode::Huffman, &states);
}

/// Runs and blocks beyond one of a million states.
#[test]
fn several_blocks_round_trip() {
    let mut states = qsgd_like((2 << 20) + 5, 93.0, 6, 1);
    states[400_000..1_700_000].fill(0);
    states[2_000_000] = -128;
    let wide: Vec<i32> = states.iter().map(|&state| state.into()).collect();
    let (stream, _) = round_trip(&Bitmap::default(), &wide);
    let books = Arc::new(BitmapBooks::train([States::I8(&states[..100_000])]).unwrap());
    round_trip(&Bitmap::with_books(books), &wide);
    round_trip(&encode::Rlh, &wide);
    for platform in Platform::available() {
        let mut other = Vec::new();
        let encoder = Bitmap::default().with_platform(platform);
        encoder.encode(States::I32(&wide), &mut other).unwrap();
        assert!(other == stream, "{platform} writes other bytes");
        let mut decoded = vec![0i8; states.len()];
        encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
        assert!(decoded == states);
    }
}

fn any_states() -> impl Strategy<Value = Vec<i32>> {
    let state = prop_oneof![
        20 => Just(0),
        6 => -2..=2,
        3 => -130..=130,
        1 => any::<i32>(),
    ];
    let run = prop_oneof![8 => 1usize..4, 3 => 1usize..300, 1 => 1usize..3000];
    // Some tensors are only small, some only zeros and signs.
    let runs = proptest::collection::vec((state, run), 0..80);
    (runs, prop_oneof![Just(i32::MAX), Just(127), Just(4), Just(1)]).prop_map(|(runs, most)| {
        let state = |state: i32| if most == i32::MAX { state } else { state % (most + 1) };
        let states = runs.into_iter().map(|(s, run)| std::iter::repeat_n(state(s), run));
        states.flatten().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_states_round_trip(states in any_states()) {
        all_round_trip(&states);
    }

    #[test]
    fn all_platforms_write_and_read_the_same(
        seed in any::<u64>(),
        count in 0usize..40_000,
        zeros in 0f64..101.0,
    ) {
        let states = qsgd_like(count, zeros, 5, seed);
        let books = Arc::new(BitmapBooks::train([States::I8(&qsgd_like(9000, zeros, 4, 1))]).unwrap());
        for books in [None, Some(books)] {
            let encoder = books.map_or_else(Bitmap::default, Bitmap::with_books);
            let mut first = None;
            for platform in Platform::available() {
                let encoder = encoder.clone().with_platform(platform);
                let mut stream = Vec::new();
                encoder.encode(States::I8(&states), &mut stream).unwrap();
                let mut decoded = vec![1i8; count];
                encoder.decode(&stream, decoded[..].as_mut().into()).unwrap();
                prop_assert!(decoded == states);
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
        let states: Vec<i32> = qsgd_like(count, zeros, 5, 3).into_iter().map(i32::from).collect();
        let (stream, _) = round_trip(&encoder, &states);
        assert_eq!(stream, round_trip(&Bitmap::default(), &states).0);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |encoder: &dyn StateEncoder| {
        let error = encoder.encode(States::I8(&[1]), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, huffwire::Error::InvalidOption(_)), "{error}");
    };
    refused(&Sh::new(1, 0));
    refused(&Sh::new(i32::MIN, i32::MAX));
    refused(&Shs::new(-1, 1).with_runs(0));
    refused(&Shs::new(-1, 1).with_runs(encode::MAX_RUNS + 1));
    refused(&Bitmap::default().with_depth(Depth::Splits(5)));
    assert!(Fixed::train(Alphabet::ZeroRuns(0), []).is_err());
    assert!(BitmapBooks::train([]).is_err());
}
