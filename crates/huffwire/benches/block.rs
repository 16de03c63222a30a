//! Speed of whole blocks, against a copy of the same bytes in the same run. `cargo bench -p huffwire`.
//!
//! The values are normal, at scales mixed over half an octave: the exponents of weights and gradients.
//! A block of 128 KiB stays in the L2 cache.

#![allow(clippy::expect_used)] // A benchmark that cannot be set up should stop.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use huffwire::{
    CodebookSet, CodedBlock, Decoder, Dtype, EncodeOptions, Encoder, Level, SymbolRule, Tensor,
};
use huffwire_testing::{Random, float};

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

fn block(case: &Case) -> Vec<u8> {
    let mut random = Random::new(1);
    let mut values = random.tensor(BLOCK / case.0.unit_bytes(), -6.0, 0.5);
    for value in &mut values {
        if random.bits() % 100 < case.3 {
            *value = 0.0;
        }
    }
    match case.0 {
        Dtype::F32 => float::to_f32_bytes(&values),
        Dtype::E4m3 => float::to_scaled_e4m3_bytes(&values),
        _ => float::to_bf16_bytes(&values),
    }
}

fn encoder(case: &Case) -> Encoder {
    let options = EncodeOptions::default().rule(case.1).level(case.2);
    Encoder::new(CodebookSet::builtin(), options).expect("the options are valid")
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
        encoder.encode_block(&Tensor::new(case.0, black_box(&bytes)), &mut out)
    });
}

#[divan::bench(args = CASES)]
fn decode(bencher: Bencher<'_, '_>, case: &Case) {
    let bytes = block(case);
    let mut coded = Vec::new();
    let tensor = Tensor::new(case.0, &bytes);
    let encoded = encoder(case).encode_block(&tensor, &mut coded).expect("whole elements");
    let mut out = vec![0; bytes.len()];
    let mut decoder = Decoder::builtin();
    let set = CodebookSet::builtin().id();
    let checksum = encoded.checksum;
    bencher.counter(BytesCount::new(BLOCK)).bench_local(|| {
        let bytes = black_box(&coded);
        let block = CodedBlock { dtype: case.0, set, checksum, bytes };
        decoder.decode_block(&block, &mut out)
    });
    assert!(out == bytes);
}
