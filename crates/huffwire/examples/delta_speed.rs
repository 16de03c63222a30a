//! Speed of deltas on this machine, one thread, from memory.
//!
//! ```text
//! cargo run --release -p huffwire --example delta_speed [MIB [PERCENT]]
//! ```
//!
//! The weights are bf16, normal; a step changes about 1 % of them unless told otherwise. Everything is timed in turns, in
//! the same run, and the fastest of five rounds counts. Beside the deltas: a loop that reads and compares both
//! tensors, the hash of one of them, and a loop that reads the base and writes the changes.

#![allow(clippy::unwrap_used)] // An example that fails should say so.

use std::hint::black_box;
use std::time::Instant;

use huffwire::{ContentHash, Decoder, Dtype, Encoder, Expected, Platform, delta};
use huffwire_testing::{Random, float};

const ROUNDS: usize = 5;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<f64>().unwrap());
    let mib = arguments.next().unwrap_or(256.0) as usize;
    let percent = arguments.next().unwrap_or(1.0);
    let (base, new) = step((mib << 20) / 2, 0.25e-6 * percent);
    let gigabytes = base.len() as f64 / 1e9;

    for platform in Platform::available() {
        let mut encoder = Encoder::builtin().with_platform(platform);
        let mut decoder = Decoder::builtin().with_platform(platform);
        let mut message = vec![0; encoder.delta_bound(Dtype::Bf16, base.len() / 2)];
        let mut weights = base.clone();
        let mut best = [f64::INFINITY; 7];
        let mut length = 0;
        for _ in 0..ROUNDS {
            let mut timed = |place: usize, work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                best[place] = best[place].min(start.elapsed().as_secs_f64());
            };
            timed(0, &mut || {
                black_box(differing(&base, &new));
            });
            timed(1, &mut || {
                black_box(ContentHash::of(&base));
            });
            timed(2, &mut || {
                length = encoder.encode_delta(Dtype::Bf16, &base, &new, &mut message).unwrap();
            });
            let message = &message[..length];
            let anything = Expected::anything();
            let changes = decoder.delta_changes(message, &anything, &base).unwrap();
            timed(3, &mut || {
                black_box(sum(&base));
                for (index, value) in changes.indices.iter().zip(changes.values.chunks(2)) {
                    weights[2 * *index as usize..][..2].copy_from_slice(value);
                }
            });
            weights.copy_from_slice(&base);
            timed(4, &mut || {
                decoder.apply_delta(message, &mut weights).unwrap();
            });
            assert!(weights == new);
            weights.copy_from_slice(&base);
            let mut prepared = None;
            timed(5, &mut || {
                prepared = Some(decoder.prepare_delta(message, &anything, &weights).unwrap());
            });
            timed(6, &mut || {
                decoder.commit_delta(prepared.as_ref().unwrap(), &mut weights).unwrap()
            });
        }
        let info = delta::Info::read(&message[..length], None).unwrap();
        let share = 100.0 * info.changes() as f64 / info.words() as f64;
        let ratio = base.len() as f64 / length as f64;
        println!("{platform}: {mib} MiB, {share:.2} % changed, {ratio:.0} times smaller");
        let speeds = best.map(|seconds| gigabytes / seconds);
        let names =
            ["compare", "hash", "encode", "read and write", "apply", "  prepare", "  commit"];
        for (name, speed) in names.into_iter().zip(speeds) {
            println!("  {name:15} {speed:7.2} GB/s of base");
        }
        let without = |whole: f64, hashes: f64| gigabytes / (whole - hashes * best[1]);
        println!("  encode without hashes {:.2}", without(best[2], 2.0));
        println!("  apply without hashes  {:.2}", without(best[4], 2.0));
    }
}

/// Number of chunks that differ.
fn differing(base: &[u8], new: &[u8]) -> usize {
    base.chunks(256).zip(new.chunks(256)).filter(|(base, new)| base != new).count()
}

/// Sum of all bytes.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter();
    words.map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add)
}

/// Weights before and after a step that moves them by `size` on average.
fn step(count: usize, size: f64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(1);
    // Made once and repeated: random numbers take their time.
    let weights: Vec<f64> = (0..count.min(1 << 22)).map(|_| 0.02 * random.normal()).collect();
    let moved = weights.iter().map(|weight| weight + size * random.normal()).collect();
    let bytes = |weights: Vec<f64>| {
        let floats: Vec<f32> = weights.into_iter().map(|weight| weight as f32).collect();
        let bytes = float::to_bf16_bytes(&floats);
        bytes.iter().copied().cycle().take(2 * count).collect()
    };
    (bytes(weights), bytes(moved))
}
