//! Elements per second of the encoders of quantized gradients. `cargo bench -p huffwire --bench gradient`.
//!
//! A million states of QSGD with 4 levels and so many percent zeros, in a byte each.

#![allow(clippy::expect_used)] // A benchmark that cannot run says so with a panic.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use huffwire::Platform;
use huffwire::gradient::Random;
use huffwire::gradient::encode::{self, Alphabet, Bitmap, BitmapBooks, Fixed, StateEncoder};

fn main() {
    divan::main();
}

const STATES: usize = 1 << 20;

const ZEROS: [u32; 5] = [0, 50, 90, 99, 100];

/// States as QSGD has them: other states than 0 get rarer with their magnitude.
fn states(zeros: u32, seed: u64) -> Vec<i8> {
    let random = Random::new(seed);
    let state = |i: u64| {
        if random.uniform(3 * i) * 100.0 < f64::from(zeros) {
            return 0;
        }
        let level = 1 + (random.bits(3 * i + 1) | 1 << 3).trailing_zeros() as i8;
        if random.bits(3 * i + 2) & 1 == 0 { level } else { -level }
    };
    (0..STATES as u64).map(state).collect()
}

fn encoders() -> Vec<(String, Box<dyn StateEncoder>, u32)> {
    let mut encoders: Vec<(String, Box<dyn StateEncoder>, u32)> = Vec::new();
    for zeros in ZEROS {
        let mut add = |name: &str, encoder: Box<dyn StateEncoder>| {
            encoders.push((format!("{name} {zeros:3}"), encoder, zeros));
        };
        for encoder in encode::all(-4, 4) {
            add(encoder.name(), encoder);
        }
        let earlier = states(zeros, 2);
        for alphabet in [Alphabet::States, Alphabet::Pairs, Alphabet::ZeroRuns(200)] {
            let book = Fixed::train(alphabet, [earlier[..].into()]).expect("an alphabet");
            add(book.name(), Box::new(book));
        }
        let books = Arc::new(BitmapBooks::train([earlier[..].into()]).expect("states"));
        for platform in Platform::available() {
            let fixed = Bitmap::with_books(Arc::clone(&books)).with_platform(platform);
            add(&format!("bitmap-fixed-{platform}"), Box::new(fixed));
            let fresh = Bitmap::default().with_platform(platform);
            add(&format!("bitmap-{platform}"), Box::new(fresh));
        }
        add("auto", Box::new(encode::Auto));
    }
    encoders
}

fn names() -> Vec<String> {
    encoders().into_iter().map(|(name, ..)| name).collect()
}

fn encoder(name: &str) -> (Box<dyn StateEncoder>, u32) {
    let found = encoders().into_iter().find(|(other, ..)| other == name);
    found.map(|(_, encoder, zeros)| (encoder, zeros)).expect("it is one of those listed")
}

#[divan::bench(args = names())]
fn encode(bencher: Bencher<'_, '_>, name: &str) {
    let (encoder, zeros) = encoder(name);
    let states = states(zeros, 1);
    let mut stream = Vec::new();
    bencher.counter(ItemsCount::new(STATES)).bench_local(|| {
        stream.clear();
        encoder.encode(black_box(&states[..]).into(), &mut stream)
    });
}

#[divan::bench(args = names())]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (encoder, zeros) = encoder(name);
    let states = states(zeros, 1);
    let mut stream = Vec::new();
    encoder.encode(states[..].into(), &mut stream).expect("states");
    let mut decoded = vec![0i8; STATES];
    bencher
        .counter(ItemsCount::new(STATES))
        .bench_local(|| encoder.decode(black_box(&stream), (&mut decoded[..]).into()));
    assert!(decoded == states);
}
