//! Speed of deltas on this machine, one thread, from memory.
//!
//! ```text
//! cargo run --release -p huffwire --example delta_speed [MIB [PERCENT [ROUNDS [PLATFORM]]]]
//! ```
//!
//! 256 MiB, 1 %, 5 rounds and all instruction sets unless told otherwise. The weights are bf16, normal; a step moves all
//! of them by about as much. Everything is timed in turns, in the same run; medians and the fastest rounds are told, in
//! GB of base a second.
//!
//! Three loops tell what memory allows: one that reads both tensors, one that reads the base and writes what
//! changes, and a copy. The hash is timed twice, from memory and (64 KiB again and again) from the cache. Deltas hash
//! what lies in the cache, so "without hashes" is the time of the whole less that of as many bytes hashed in the cache:
//! two tensors, and one for an encoder that remembers the hash of its base. Sparse blocks are hashed by a loop of their
//! own, which may be faster than the hash that is timed: then the estimate tells too much. Last comes what others do:
//! exclusive or, and zstd at level 1.

#![allow(clippy::unwrap_used)] // An example that fails should say so.

use std::hint::black_box;
use std::time::Instant;

use huffwire::{ContentHash, Decoder, Dtype, Encoder, Expected, Platform, delta};
use huffwire_testing::{Random, float};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |given| given.parse().unwrap());
    let [mib, percent, rounds] = [256.0, 1.0, 5.0].map(&mut number);
    let (mib, rounds) = (mib as usize, rounds as usize);
    if mib == 0 || rounds == 0 {
        eprintln!("delta_speed: MIB and ROUNDS are whole numbers of at least 1");
        std::process::exit(2);
    }
    let only: Option<Platform> = arguments.next().map(|name| name.parse().unwrap());
    let (base, new) = step((mib << 20) / 2, 0.25e-6 * percent);

    let platforms =
        Platform::available().filter(|platform| only.is_none_or(|only| only == *platform));
    let mut tried: Vec<Tried> = platforms.map(|platform| Tried::new(platform, &base)).collect();
    let changes = tried[0].changes(&base, &new);
    let mut weights = base.clone();
    let mut xored = vec![0; base.len()];
    let mut zstd_coded = vec![0; zstd::zstd_safe::compress_bound(base.len())];
    let mut zstd_encoder = zstd::bulk::Compressor::new(1).unwrap();
    let mut zstd_decoder = zstd::bulk::Decompressor::new().unwrap();
    let mut zstd_length = 0;

    let [mut read_both, mut read_and_write, mut copy] = [const { Times::new() }; 3];
    let [mut hash, mut hash_in_cache, mut zstd_encode, mut zstd_apply] =
        [const { Times::new() }; 4];
    for _ in 0..rounds {
        read_both.time(|| black_box(different_bits(&base, &new)));
        copy.time(|| xored.copy_from_slice(&base));
        hash.time(|| black_box(ContentHash::of(&base)));
        hash_in_cache.time(|| {
            for _ in 0..base.len() >> 16 {
                black_box(ContentHash::of(black_box(&base[..1 << 16])));
            }
        });
        weights.copy_from_slice(&base);
        read_and_write.time(|| {
            black_box(different_bits(&base, &base));
            for (index, value) in changes.indices.iter().zip(changes.values.as_chunks::<2>().0) {
                weights.as_chunks_mut::<2>().0[*index as usize] = *value;
            }
        });
        for tried in &mut tried {
            tried.time_round(&base, &new, &mut weights);
        }
        zstd_encode.time(|| {
            xor(&base, &new, &mut xored);
            zstd_length = zstd_encoder.compress_to_buffer(&xored, &mut zstd_coded).unwrap();
        });
        weights.copy_from_slice(&base);
        zstd_apply.time(|| {
            zstd_decoder.decompress_to_buffer(&zstd_coded[..zstd_length], &mut xored).unwrap();
            xor_in_place(&xored, &mut weights);
        });
        assert!(weights == new);
    }

    let ratio = |length: usize| base.len() as f64 / length as f64;
    let share = 200.0 * changes.indices.len() as f64 / base.len() as f64;
    println!(
        "{mib} MiB of bf16, {share:.2} % changed, {rounds} rounds: GB/s by median, by the fastest"
    );
    let report = |name: &str, times: &Times, against: &Times| {
        let [median, best] = [times.median(), times.best()];
        let [speed, fastest] = [median, best].map(|seconds| base.len() as f64 / seconds / 1e9);
        let [share, of_fastest] = [against.median() / median, against.best() / best];
        println!("  {name:38} {speed:7.2} {fastest:7.2}    {share:5.2} {of_fastest:5.2}");
    };
    println!(
        "loops                                           and relative to reading both tensors"
    );
    report("read both tensors", &read_both, &read_both);
    report("read the base, write what changes", &read_and_write, &read_both);
    report("copy", &copy, &read_both);
    report("hash, from memory", &hash, &read_both);
    report("hash, in cache", &hash_in_cache, &read_both);
    for Tried { name, encode, apply, prepare, commit, length, .. } in &tried {
        println!("{name}: {:.0} times smaller", ratio(*length));
        let hashed = |times: &Times, tensors: f64| times.less(&hash_in_cache, tensors);
        println!(
            "                                                and relative to reading both tensors"
        );
        report("encode", encode, &read_both);
        report("encode, one tensor hashed (estimate)", &hashed(encode, 1.0), &read_both);
        report("encode without hashes (estimate)", &hashed(encode, 2.0), &read_both);
        println!(
            "                                                and relative to reading and writing"
        );
        report("apply", apply, &read_and_write);
        report("apply without hashes (estimate)", &hashed(apply, 2.0), &read_and_write);
        report("  prepare", prepare, &read_and_write);
        report("  commit", commit, &read_and_write);
    }
    println!("exclusive or, zstd -1: {:.0} times smaller", ratio(zstd_length));
    println!("                                                and relative to the last set above");
    report("encode", &zstd_encode, &tried[tried.len() - 1].encode);
    report("apply", &zstd_apply, &tried[tried.len() - 1].apply);
}

/// Times of the rounds, in seconds.
struct Times(Vec<f64>);

impl Times {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.0.push(start.elapsed().as_secs_f64());
        result
    }

    fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Round by round without so many times the best of others.
    fn less(&self, other: &Self, count: f64) -> Self {
        Self(self.0.iter().map(|seconds| seconds - count * other.best()).collect())
    }
}

/// What is timed for an instruction set.
struct Tried {
    name: &'static str,
    encoder: Encoder,
    decoder: Decoder,
    message: Vec<u8>,
    length: usize,
    encode: Times,
    apply: Times,
    prepare: Times,
    commit: Times,
}

impl Tried {
    fn new(platform: Platform, base: &[u8]) -> Self {
        let encoder = Encoder::builtin().with_platform(platform);
        let message = vec![0; encoder.delta_bound(Dtype::Bf16, base.len() / 2)];
        let [encode, apply, prepare, commit] = [const { Times::new() }; 4];
        let decoder = Decoder::builtin().with_platform(platform);
        let name = platform.name();
        Self { name, encoder, decoder, message, length: 0, encode, apply, prepare, commit }
    }

    fn changes(&mut self, base: &[u8], new: &[u8]) -> delta::Changes {
        let message = self.encoder.encode_delta_to_vec(Dtype::Bf16, base, new).unwrap();
        self.decoder.delta_changes(&message, &Expected::anything(), base).unwrap()
    }

    fn time_round(&mut self, base: &[u8], new: &[u8], weights: &mut [u8]) {
        let Self { encoder, decoder, message, .. } = self;
        let encode = || encoder.encode_delta(Dtype::Bf16, base, new, message).unwrap();
        self.length = self.encode.time(encode);
        let message = &message[..self.length];
        weights.copy_from_slice(base);
        self.apply.time(|| decoder.apply_delta(message, weights).unwrap());
        assert!(weights == new);
        weights.copy_from_slice(base);
        let prepare = || decoder.prepare_delta(message, &Expected::anything(), weights).unwrap();
        let prepared = self.prepare.time(prepare);
        self.commit.time(|| decoder.commit_delta(&prepared, weights).unwrap());
    }
}

/// All bits that differ somewhere: as fast as memory is read.
fn different_bits(base: &[u8], new: &[u8]) -> [u64; 32] {
    let mut bits = [0; 32];
    let blocks = base.as_chunks::<256>().0.iter().zip(new.as_chunks::<256>().0);
    for (base, new) in blocks {
        let words = base.as_chunks::<8>().0.iter().zip(new.as_chunks::<8>().0);
        for (bits, (base, new)) in bits.iter_mut().zip(words) {
            *bits |= u64::from_le_bytes(*base) ^ u64::from_le_bytes(*new);
        }
    }
    bits
}

fn xor(base: &[u8], new: &[u8], out: &mut [u8]) {
    for ((base, new), out) in base.iter().zip(new).zip(out) {
        *out = base ^ new;
    }
}

fn xor_in_place(other: &[u8], bytes: &mut [u8]) {
    for (other, byte) in other.iter().zip(bytes) {
        *byte ^= other;
    }
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
