//! Speed of whole blocks, against a copy of the same bytes in the same run. `cargo bench -p huffwire`.
//!
//! The values are normal, at scales mixed over half an octave: the exponents of weights and gradients.
//! A block of 128 KiB stays in the L2 cache.

#![allow(clippy::expect_used)] // A benchmark that cannot be set up should stop.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use huffwire::{Decoder, Dtype, EncodeOptions, Encoder, Level, SymbolRule};

fn main() {
    divan::main();
}

const BLOCK: usize = 128 << 10;

/// What is coded: element type, symbol rule, level, percent of exact zeros.
#[derive(Debug)]
struct Case(Dtype, SymbolRule, Level, u64);

const CASES: &[Case] = &[
    Case(Dtype::Bf16, SymbolRule::Auto, Level::Fast, 0),
    Case(Dtype::Bf16, SymbolRule::Auto, Level::Fast, 50),
    Case(Dtype::Bf16, SymbolRule::Auto, Level::Fast, 90),
    Case(Dtype::Bf16, SymbolRule::Auto, Level::Max, 0),
    Case(Dtype::Bf16, SymbolRule::BytePlanes, Level::Fast, 0),
    Case(Dtype::F32, SymbolRule::Auto, Level::Fast, 0),
    Case(Dtype::E4m3, SymbolRule::Auto, Level::Fast, 0),
];

fn uniform(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

fn block(case: &Case) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252;
    let mut normal = || (0..12).map(|_| uniform(&mut state)).sum::<f64>() - 6.0;
    let mut values = Vec::new();
    for _ in 0..BLOCK / case.0.unit_bytes() {
        let scale = f64::exp2(0.5 * normal() - 6.0);
        values.push((normal() * scale) as f32);
    }
    for (index, value) in values.iter_mut().enumerate() {
        if (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 127 < 128 * case.3 / 100 {
            *value = 0.0;
        }
    }
    match case.0 {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::E4m3 => values
            .iter()
            .map(|v| {
                // Sign, then exponent and mantissa rebiased, the way a scaled conversion would.
                let bits = (v * 4096.0).to_bits();
                let code = (bits >> 20 & 0x7ff) as i32 - 120 * 8;
                (bits >> 24 & 0x80) as u8 | code.clamp(0, 126) as u8
            })
            .collect(),
        _ => values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(),
    }
}

fn encoder(case: &Case) -> Encoder {
    let options = EncodeOptions::default().rule(case.1).level(case.2);
    Encoder::new(huffwire::CodebookSet::builtin(), options).expect("the options are valid")
}

#[divan::bench]
fn memcpy(bencher: Bencher<'_, '_>) {
    let bytes = block(&CASES[0]);
    let mut out = vec![0; bytes.len()];
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        black_box(&mut out).copy_from_slice(black_box(&bytes));
    });
}

#[divan::bench(args = CASES)]
fn encode(bencher: Bencher<'_, '_>, case: &Case) {
    let bytes = block(case);
    let mut encoder = encoder(case);
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        out.clear();
        encoder.encode_block(case.0, black_box(&bytes), &mut out)
    });
}

#[divan::bench(args = CASES)]
fn decode(bencher: Bencher<'_, '_>, case: &Case) {
    let bytes = block(case);
    let mut coded = Vec::new();
    encoder(case).encode_block(case.0, &bytes, &mut coded).expect("whole elements");
    let mut out = vec![0; bytes.len()];
    let mut decoder = Decoder::builtin();
    bencher
        .counter(BytesCount::new(BLOCK))
        .bench_local(|| decoder.decode_block(case.0, true, black_box(&coded), &mut out));
    assert!(out == bytes);
}
