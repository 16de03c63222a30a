//! Elements per second of the quantizers, with and without error feedback, and of the way back, on each platform.
//! `cargo bench -p huffwire --features gradient --bench quantizers [-- NAME…]` measures the quantizers whose names
//! begin so, and prints a table. A name that is a number is the number of elements.
//!
//! The floats are normally distributed. Each platform is measured by a run of this program for itself, since the
//! quantizers use the platform that `HUFFWIRE_PLATFORM` names. The best of all turns counts.

#![allow(clippy::expect_used)] // A benchmark that cannot run says so with a panic.

use std::hint::black_box;
use std::time::Instant;

use huffwire::Platform;
use huffwire::gradient::quantize::{
    Keep, Linear, Natural, Norm, Qsgd, Quantized, Quantizer, Sign, SignScale, Sparsify, TernGrad,
    WHOLE,
};
use huffwire::gradient::{ErrorFeedback, Random};

const FLOATS: usize = 1 << 20;

/// Turns of each quantizer.
const TURNS: u64 = 100;

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let (mut count, turns) =
        if std::env::args().any(|arg| arg == "--bench") { (FLOATS, TURNS) } else { (1 << 12, 1) };
    let mut names: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    names.retain(|name| name.parse().map(|number| count = number).is_err());
    let is_wanted = |name: &str| {
        names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str()))
    };
    let floats = normal(count, 1);
    println!("{} elements, {}, Gelem/s:\n", count, Platform::detect());
    println!("| quantizer | quantize | with error feedback | dequantize |\n|---|---|---|---|");
    for quantizer in quantizers().into_iter().filter(|quantizer| is_wanted(quantizer.name())) {
        let mut memory = ErrorFeedback::new(count);
        let (mut plain, mut fed_back) = (Quantized::empty(quantizer), Quantized::empty(quantizer));
        let quantized = quantizer.quantize(&floats, 1).expect("normal floats");
        let mut restored = Vec::new();
        let mut best = [f64::MAX; 3];
        for turn in 0..turns {
            let times = [
                seconds(|| quantizer.quantize_to(black_box(&floats), turn, &mut plain)),
                seconds(|| memory.quantize_to(&quantizer, black_box(&floats), turn, &mut fed_back)),
                seconds(|| black_box(&quantized).dequantize_to(&mut restored)),
            ];
            for (best, time) in best.iter_mut().zip(times) {
                *best = best.min(time);
            }
        }
        let [plain, feedback, back] = best.map(|time| count as f64 / time / 1e9);
        println!("| {quantizer} | {plain:.2} | {feedback:.2} | {back:.2} |");
    }
}

fn quantizers() -> Vec<Quantizer> {
    let qsgd = |levels, norm| Quantizer::Qsgd(Qsgd { levels, bucket: 512, norm });
    let sign = |scale| Quantizer::Sign(Sign { scale, bucket: WHOLE });
    vec![
        qsgd(4, Norm::L2),
        qsgd(4, Norm::Max),
        qsgd(127, Norm::L2),
        qsgd(1000, Norm::Max),
        Quantizer::TernGrad(TernGrad::default()),
        Quantizer::TernGrad(TernGrad { clip: None, bucket: 512 }),
        Quantizer::Linear(Linear::default()),
        Quantizer::Linear(Linear { bucket: 512 }),
        sign(SignScale::One),
        sign(SignScale::Mean),
        sign(SignScale::Means),
        Quantizer::Natural(Natural),
        Quantizer::Sparsify(Sparsify { keep: Keep::Top, share: 0.01 }),
        Quantizer::Sparsify(Sparsify { keep: Keep::Random, share: 0.01 }),
    ]
}

/// Normal floats: the sum of twelve even ones, near enough.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let random = Random::new(seed);
    let float = |i: u64| (0..12).map(|j| random.uniform(12 * i + j)).sum::<f64>() - 6.0;
    (0..count as u64).map(|i| float(i) as f32).collect()
}

fn seconds<R>(task: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(task());
    start.elapsed().as_secs_f64()
}
