//! What it costs to sample the traffic for a refresh of codebooks, and how long a judgement takes.
//! `cargo bench -p huffwire --bench refresh` encodes messages of bf16 with and without a refresher that observes them,
//! turn by turn, and prints a table: the share of the time that observing adds, and the time of a judgement, which
//! belongs on another thread.

#![allow(clippy::expect_used)] // A benchmark that cannot run says so with a panic.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use huffwire::refresh::{Limits, Refresher, TensorBooks};
use huffwire::{CodebookSet, Dtype, EncodeOptions, Encoder, Platform, Tensor};
use huffwire_testing::{Random, float};

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (total, turns) = if is_bench { (256 << 20, 15) } else { (1 << 20, 1) };
    println!("{}, bf16, no checksums, default limits", Platform::detect());
    println!("| message | encode GB/s | observing costs | a judgement takes |\n|---|---|---|---|");
    for size in [4 << 10, 64 << 10, 1 << 20, 16 << 20] {
        measure(size, (total / size).max(1), turns);
    }
}

/// Prints the row of messages of so many bytes.
fn measure(size: usize, count: usize, turns: usize) {
    let elements = float::to_bf16_bytes(&Random::new(1).tensor((16 << 20) / 2, -6.0, 0.0));
    let tensors: Vec<&[u8]> = elements.chunks_exact(size).collect();
    let set = CodebookSet::builtin();
    let options = EncodeOptions::default().checksums(false);
    let mut encoder = Encoder::new(Arc::clone(&set), options).expect("valid options");
    let mut out = vec![0; encoder.bound(Dtype::Bf16, size / 2)];
    let mut refresher = Refresher::new(TensorBooks::new(set), Limits::default());
    let (mut encoding, mut observing) = (Duration::MAX, Duration::MAX);
    let messages = || {
        (0..count)
            .map(|i| Tensor::new(Dtype::Bf16, tensors[i % tensors.len()]).named("layers.1.weight"))
    };
    for _ in 0..turns {
        let start = Instant::now();
        for message in messages() {
            black_box(encoder.encode_tensor(&message, &mut out).expect("room for it"));
        }
        encoding = encoding.min(start.elapsed());
        // What a turn of observing costs is measured without the encoder: the difference of two large times would be
        // their noise. The bytes are as far away as they are for an encoder.
        let start = Instant::now();
        for message in messages() {
            refresher.observe(black_box(&message));
        }
        observing = observing.min(start.elapsed());
    }
    let limits = Limits { every: 1, ..*refresher.limits() };
    let mut judged = Refresher::new(refresher.books().clone(), limits);
    while !judged.is_due() {
        messages().for_each(|message| judged.observe(&message));
    }
    let start = Instant::now();
    black_box(judged.judge().expect("tensors"));
    println!(
        "| {} KiB | {:.1} | {:.3} % | {:.1} ms |",
        size >> 10,
        (size * count) as f64 / encoding.as_secs_f64() / 1e9,
        100.0 * observing.as_secs_f64() / encoding.as_secs_f64(),
        start.elapsed().as_secs_f64() * 1e3,
    );
}
