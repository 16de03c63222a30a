//! Deltas: a message of each kind of block, with the base that it is for.

use huffwire::{CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Expected, Tensor, delta};
use huffwire_testing::Random;

use super::{golden, same_as_today};

/// Values around a scale, and the same after a step that moves all of them by about as much.
fn step(dtype: Dtype, words: usize, size: f64, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::new(seed);
    let (mut base, mut new) = (Vec::new(), Vec::new());
    for word in 0..words {
        let value = if word % 50 == 7 { 0.0 } else { 0.02 * random.normal() };
        let moved = value + size * random.normal();
        for (value, bytes) in [(value, &mut base), (moved, &mut new)] {
            match dtype {
                Dtype::Bf16 => {
                    bytes.extend_from_slice(&((value as f32).to_bits() >> 16).to_le_bytes()[..2]);
                }
                Dtype::F32 => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
                // Integers.
                _ => bytes.push((value * 5000.0) as i8 as u8),
            }
        }
    }
    (base, new)
}

#[test]
fn every_golden_delta_is_applied_and_still_made_the_same() {
    let mut kinds = Vec::new();
    for (name, dtype, words, size) in [
        ("unchanged", Dtype::Bf16, 300, 0.0),
        ("step", Dtype::Bf16, 9000, 1e-6),
        ("dense", Dtype::Bf16, 700, 1e-4),
        ("dense-f32", Dtype::F32, 300, 1e-7),
        ("plain", Dtype::Bf16, 300, 1.0),
        ("densities", Dtype::I8, 3000, 1e-5),
    ] {
        let (base, new) = step(dtype, words, size, words as u64);
        let options = EncodeOptions::default().checksums(name != "plain").block_log2(12);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let tensor = Tensor::new(dtype, &new);
        let context = (name == "densities").then_some(77);
        let tensor = context.map_or(tensor.clone(), |context| tensor.in_context(context));
        let today = encoder.encode_tensor_delta_to_vec(&base, &tensor).unwrap();
        let name = format!("{name}.delta");
        let message = golden(&name, &today);
        let base = golden(&format!("{name}-base"), &base);
        let mut expected = Expected::anything();
        expected.context = context;
        let mut weights = base.clone();
        Decoder::builtin().apply_expected_delta(&message, &expected, &mut weights).unwrap();
        assert!(weights == golden(&format!("{name}-result"), &new), "{name}");
        same_as_today(&name, &message, &today);
        kinds.push(delta::Info::read(&message, context).unwrap().blocks[0].kind);
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}
