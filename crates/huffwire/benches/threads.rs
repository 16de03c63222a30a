//! Speed of messages on one thread and on two. `cargo bench -p huffwire --bench threads`.

#![allow(clippy::expect_used)] // A benchmark that cannot be set up should stop.

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use huffwire::{Decoder, Dtype, Encoder, Threads};
use huffwire_testing::{Random, float};

fn main() {
    divan::main();
}

const DTYPE: Dtype = Dtype::Bf16;
const MIB: usize = 1 << 20;

/// Bytes of elements, and threads.
const CASES: &[(usize, usize)] =
    &[(MIB, 1), (MIB, 2), (4 * MIB, 1), (4 * MIB, 2), (64 * MIB, 1), (64 * MIB, 2)];

/// Normal values at scales mixed over half an octave, as in `block.rs`; a million of them, again and again.
fn tensor(bytes: usize) -> Vec<u8> {
    let values = Random::new(1).tensor(bytes.min(2 * MIB) / 2, -6.0, 0.5);
    let some = float::to_bf16_bytes(&values);
    some.iter().copied().cycle().take(bytes).collect()
}

fn threads(count: usize) -> Threads {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
    Threads::Pool(Arc::new(pool.expect("threads can be started")))
}

#[divan::bench(args = CASES)]
fn encode(bencher: Bencher<'_, '_>, &(bytes, count): &(usize, usize)) {
    let tensor = tensor(bytes);
    let mut encoder = Encoder::builtin().with_threads(threads(count));
    let mut out = vec![0; encoder.bound(DTYPE, bytes / 2)];
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| encoder.encode(DTYPE, black_box(&tensor), &mut out));
}

#[divan::bench(args = CASES)]
fn decode(bencher: Bencher<'_, '_>, &(bytes, count): &(usize, usize)) {
    let tensor = tensor(bytes);
    let message = Encoder::builtin().encode_to_vec(DTYPE, &tensor).expect("whole elements");
    let mut out = vec![0; bytes];
    let mut decoder = Decoder::builtin().with_threads(threads(count));
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| decoder.decode(black_box(&message), &mut out));
    assert!(out == tensor);
}

#[divan::bench(args = CASES)]
fn decode_to_vec(bencher: Bencher<'_, '_>, &(bytes, count): &(usize, usize)) {
    let tensor = tensor(bytes);
    let message = Encoder::builtin().encode_to_vec(DTYPE, &tensor).expect("whole elements");
    let mut decoder = Decoder::builtin().with_threads(threads(count));
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| decoder.decode_to_vec(black_box(&message)));
}
