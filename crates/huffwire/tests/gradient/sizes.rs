//! What encoders promise of sizes.

use huffwire::gradient::encode::{
    self, Auto, Bitmap, Elias, EliasCode, Huffman, QsgdElias, QsgdScheme, Rlh, Sh, Shs, Sizes,
    ValueEncoder, estimates, shannon,
};
use huffwire::gradient::{Random, Values};

use crate::values::qsgd_like;

const VALUES: usize = 300_000;
const LEVELS: u32 = 4;

fn sizes(encoder: &dyn ValueEncoder, values: &[i8]) -> Sizes {
    encoder.encode(Values::I8(values), &mut Vec::new()).unwrap()
}

fn payload(encoder: &dyn ValueEncoder, values: &[i8]) -> f64 {
    let sizes = sizes(encoder, values);
    (sizes.total - sizes.codebook) as f64
}

/// Each encoder beside Shannon's bound on its own symbols.
#[test]
fn codes_are_near_the_entropy_of_their_symbols() {
    for zeros in [0.0, 50.0, 75.0, 90.0, 95.0, 99.0] {
        let values = qsgd_like(VALUES, zeros, LEVELS, 3);
        let bound = shannon(Values::I8(&values));
        let rlh = payload(&Rlh, &values);
        assert!(rlh >= bound.pairs && rlh < bound.pairs * 1.03 + 8.0, "{zeros}: {rlh}");
        let huffman = payload(&Huffman, &values);
        assert!(huffman >= bound.values && huffman < bound.values + VALUES as f64 / 8.0);
        let shs = payload(&Shs::new(-4, 4), &values);
        assert!(shs < bound.zero_runs * 1.06 + 8.0, "{zeros}: {shs} of {}", bound.zero_runs);
        let sh = payload(&Sh::new(-4, 4), &values);
        assert!(sh < huffman * 1.06, "{zeros}: {sh} of {huffman}");
        // Independent values have no more to give than their entropy, and this comes near it.
        let bitmap = sizes(&Bitmap::default(), &values).total as f64;
        assert!(bitmap < bound.values * 1.04 + 600.0, "{zeros}: {bitmap} of {}", bound.values);
    }
}

/// The order of the results of Gajjala et al. (2020).
#[test]
fn huffman_codes_of_runs_beat_elias() {
    for zeros in [50.0, 75.0, 90.0, 95.0, 99.0] {
        let values = qsgd_like(VALUES, zeros, LEVELS, 4);
        let rlh = sizes(&Rlh, &values).total;
        for code in [EliasCode::Gamma, EliasCode::Delta, EliasCode::Omega] {
            assert!(rlh < sizes(&Elias::new(code), &values).total);
        }
        assert!(rlh < sizes(&QsgdElias::new(QsgdScheme::Sparse), &values).total);
        assert!(sizes(&Bitmap::default(), &values).total < rlh);
    }
}

/// QSGD's appendix: the dense code spends at most 2.8 bits an element at s = √n, the sparse one
/// few where most are zeros.
#[test]
fn qsgd_codes_are_for_what_they_are_for() {
    let dense = |values: &[i8]| sizes(&QsgdElias::new(QsgdScheme::Dense), values).total;
    let sparse = |values: &[i8]| sizes(&QsgdElias::new(QsgdScheme::Sparse), values).total;
    let values = qsgd_like(VALUES, 95.0, LEVELS, 5);
    assert!(sparse(&values) < dense(&values));
    let values = qsgd_like(VALUES, 20.0, LEVELS, 5);
    assert!(dense(&values) < sparse(&values) * 11 / 10);
    // A zero is one bit, a 1 is "10" and "0" of ω and a sign: 100 = 3 bits for the number 2, 4 in all.
    assert_eq!(dense(&[0; 80]), 1 + 10);
    assert_eq!(dense(&[1; 80]), 1 + 40);
}

/// What was not drawn was not looked at: it may be anything, and the codebook is the same.
#[test]
fn sampling_encoders_look_at_a_thousand_draws() {
    let seed = 5;
    let values = qsgd_like(VALUES, 80.0, LEVELS, 6);
    let mut others = vec![3; VALUES];
    for draw in 0..1000 {
        let index = Random::new(seed).below(draw, VALUES as u64) as usize;
        others[index] = values[index];
    }
    let encoders: [Box<dyn ValueEncoder>; 2] =
        [Box::new(Sh::new(-4, 4).with_seed(seed)), Box::new(Shs::new(-4, 4).with_seed(seed))];
    for encoder in encoders {
        let book = |values: &[i8]| {
            let mut stream = Vec::new();
            let sizes = encoder.encode(Values::I8(values), &mut stream).unwrap();
            // Three bytes tell how many values there are.
            stream[3..3 + sizes.codebook].to_vec()
        };
        assert_eq!(book(&values), book(&others), "{}", encoder.name());
    }
}

#[test]
fn sampling_encoders_depend_on_their_seed_alone() {
    let values = qsgd_like(20_000, 80.0, LEVELS, 6);
    let stream = |encoder: &dyn ValueEncoder| {
        let mut stream = Vec::new();
        encoder.encode(Values::I8(&values), &mut stream).unwrap();
        stream
    };
    assert_eq!(stream(&Sh::new(-4, 4)), stream(&Sh::new(-4, 4)));
    let streams: Vec<_> = (0..6).map(|seed| stream(&Shs::new(-4, 4).with_seed(seed))).collect();
    assert!(streams.iter().any(|other| other != &streams[0]));
}

#[test]
fn auto_takes_nearly_the_smallest_and_says_which() {
    for zeros in [0.0, 30.0, 50.0, 80.0, 95.0, 99.0, 99.9, 100.0] {
        for count in [0, 100, 3000, VALUES] {
            let values = qsgd_like(count, zeros, LEVELS, 7);
            let mut stream = Vec::new();
            let chosen = Auto.encode(Values::I8(&values), &mut stream).unwrap();
            let name = Auto::choose(Values::I8(&values));
            assert_eq!(Auto::chosen(&stream).unwrap(), name);
            let others =
                encode::all(-4, 4).into_iter().map(|encoder| sizes(&*encoder, &values).total);
            let best = others.min().unwrap();
            let total = chosen.total;
            assert!(
                total as f64 <= best as f64 * 1.05 + 70.0,
                "{zeros} of {count}: {name} {total}, {best}"
            );
        }
    }
    let values = qsgd_like(VALUES, 90.0, LEVELS, 8);
    for estimate in estimates(Values::I8(&values)) {
        let encoders = encode::all(-4, 4);
        let encoder = encoders.iter().find(|encoder| encoder.name() == estimate.name).unwrap();
        let ratio = estimate.bytes / sizes(&**encoder, &values).total as f64;
        assert!((0.9..1.1).contains(&ratio), "{}: {ratio}", estimate.name);
    }
}
