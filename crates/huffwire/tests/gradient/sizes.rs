//! What encoders promise of sizes.

use huffwire::gradient::encode::{
    self, Auto, Bitmap, Elias, EliasCode, Huffman, QsgdElias, QsgdScheme, Rlh, Sh, Shs, Sizes,
    StateEncoder, estimates, shannon,
};
use huffwire::gradient::{Random, States};

use crate::states::qsgd_like;

const STATES: usize = 300_000;
const LEVELS: u32 = 4;

fn sizes(encoder: &dyn StateEncoder, states: &[i8]) -> Sizes {
    encoder.encode(States::I8(states), &mut Vec::new()).unwrap()
}

fn payload(encoder: &dyn StateEncoder, states: &[i8]) -> f64 {
    let sizes = sizes(encoder, states);
    (sizes.total - sizes.codebook) as f64
}

/// Each encoder beside Shannon's bound on its own symbols.
#[test]
fn codes_are_near_the_entropy_of_their_symbols() {
    for zeros in [0.0, 50.0, 75.0, 90.0, 95.0, 99.0] {
        let states = qsgd_like(STATES, zeros, LEVELS, 3);
        let bound = shannon(States::I8(&states));
        let rlh = payload(&Rlh, &states);
        assert!(rlh >= bound.pairs && rlh < bound.pairs * 1.03 + 8.0, "{zeros}: {rlh}");
        let huffman = payload(&Huffman, &states);
        assert!(huffman >= bound.states && huffman < bound.states + STATES as f64 / 8.0);
        let shs = payload(&Shs::new(-4, 4), &states);
        assert!(shs < bound.zero_runs * 1.06 + 8.0, "{zeros}: {shs} of {}", bound.zero_runs);
        let sh = payload(&Sh::new(-4, 4), &states);
        assert!(sh < huffman * 1.06, "{zeros}: {sh} of {huffman}");
        // Independent states have no more to give than their entropy, and this comes near it.
        let bitmap = sizes(&Bitmap::default(), &states).total as f64;
        assert!(bitmap < bound.states * 1.04 + 600.0, "{zeros}: {bitmap} of {}", bound.states);
    }
}

/// The order of the paper's results.
#[test]
fn huffman_codes_of_runs_beat_elias() {
    for zeros in [50.0, 75.0, 90.0, 95.0, 99.0] {
        let states = qsgd_like(STATES, zeros, LEVELS, 4);
        let rlh = sizes(&Rlh, &states).total;
        for code in [EliasCode::Gamma, EliasCode::Delta, EliasCode::Omega] {
            assert!(rlh < sizes(&Elias::new(code), &states).total);
        }
        assert!(rlh < sizes(&QsgdElias::new(QsgdScheme::Sparse), &states).total);
        assert!(sizes(&Bitmap::default(), &states).total < rlh);
    }
}

/// QSGD's appendix: the dense code spends at most 2.8 bits an element at s = √n, the sparse one
/// few where most are zeros.
#[test]
fn qsgd_codes_are_for_what_they_are_for() {
    let dense = |states: &[i8]| sizes(&QsgdElias::new(QsgdScheme::Dense), states).total;
    let sparse = |states: &[i8]| sizes(&QsgdElias::new(QsgdScheme::Sparse), states).total;
    let states = qsgd_like(STATES, 95.0, LEVELS, 5);
    assert!(sparse(&states) < dense(&states));
    let states = qsgd_like(STATES, 20.0, LEVELS, 5);
    assert!(dense(&states) < sparse(&states) * 11 / 10);
    // A zero is one bit, a 1 is "10" and "0" of ω and a sign: 100 = 3 bits for the number 2, 4 in all.
    assert_eq!(dense(&[0; 80]), 1 + 10);
    assert_eq!(dense(&[1; 80]), 1 + 40);
}

/// What was not drawn was not looked at: it may be anything, and the codebook is the same.
#[test]
fn sampling_encoders_look_at_a_thousand_draws() {
    let seed = 5;
    let states = qsgd_like(STATES, 80.0, LEVELS, 6);
    let mut others = vec![3; STATES];
    for draw in 0..1000 {
        let index = Random::new(seed).below(draw, STATES as u64) as usize;
        others[index] = states[index];
    }
    let encoders: [Box<dyn StateEncoder>; 2] =
        [Box::new(Sh::new(-4, 4).with_seed(seed)), Box::new(Shs::new(-4, 4).with_seed(seed))];
    for encoder in encoders {
        let book = |states: &[i8]| {
            let mut stream = Vec::new();
            let sizes = encoder.encode(States::I8(states), &mut stream).unwrap();
            // Three bytes tell how many states there are.
            stream[3..3 + sizes.codebook].to_vec()
        };
        assert_eq!(book(&states), book(&others), "{}", encoder.name());
    }
}

#[test]
fn sampling_encoders_depend_on_their_seed_alone() {
    let states = qsgd_like(20_000, 80.0, LEVELS, 6);
    let stream = |encoder: &dyn StateEncoder| {
        let mut stream = Vec::new();
        encoder.encode(States::I8(&states), &mut stream).unwrap();
        stream
    };
    assert_eq!(stream(&Sh::new(-4, 4)), stream(&Sh::new(-4, 4)));
    let streams: Vec<_> = (0..6).map(|seed| stream(&Shs::new(-4, 4).with_seed(seed))).collect();
    assert!(streams.iter().any(|other| other != &streams[0]));
}

#[test]
fn auto_takes_nearly_the_smallest_and_says_which() {
    for zeros in [0.0, 30.0, 50.0, 80.0, 95.0, 99.0, 99.9, 100.0] {
        for count in [0, 100, 3000, STATES] {
            let states = qsgd_like(count, zeros, LEVELS, 7);
            let mut stream = Vec::new();
            let chosen = Auto.encode(States::I8(&states), &mut stream).unwrap();
            let name = Auto::choose(States::I8(&states));
            assert_eq!(Auto::chosen(&stream).unwrap(), name);
            let others =
                encode::all(-4, 4).into_iter().map(|encoder| sizes(&*encoder, &states).total);
            let best = others.min().unwrap();
            let total = chosen.total;
            assert!(
                total as f64 <= best as f64 * 1.05 + 70.0,
                "{zeros} of {count}: {name} {total}, {best}"
            );
        }
    }
    let states = qsgd_like(STATES, 90.0, LEVELS, 8);
    for estimate in estimates(States::I8(&states)) {
        let encoders = encode::all(-4, 4);
        let encoder = encoders.iter().find(|encoder| encoder.name() == estimate.name).unwrap();
        let ratio = estimate.bytes / sizes(&**encoder, &states).total as f64;
        assert!((0.9..1.1).contains(&ratio), "{}: {ratio}", estimate.name);
    }
}
