//! Every platform of this machine writes the same messages and reads them alike, errors included.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A panic says what does not hold.

mod forge;

use forge::builtin_block;
use huffwire::{
    Choice, CodebookSet, Decoder, Dtype, EncodeOptions, Encoder, Level, Platform, SymbolRule,
    Tensor,
};
use huffwire_testing::Random;

/// Bytes that look like a tensor of the type, more or less: bell-shaped, a share of exact zeros,
/// some outliers, and for six-bit types no bit that they do not have.
fn tensor(dtype: Dtype, units: usize, zeros: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < units * dtype.unit_bytes() {
        let scale = if random.bits() >> 32 & 255 == 0 { 1e30 } else { 0.02 };
        let value =
            if (random.bits() >> 32) % 100 < zeros { 0.0 } else { random.normal() as f32 * scale };
        match dtype {
            Dtype::Bf16 => bytes.extend(((value.to_bits() >> 16) as u16).to_le_bytes()),
            Dtype::F32 => bytes.extend(value.to_le_bytes()),
            Dtype::E3m2 | Dtype::E2m3 => bytes.push((value * 800.0) as u8 & 0x3f),
            Dtype::E2m1 | Dtype::E4m3 | Dtype::I8 => {
                bytes.push((value * 800.0) as i8 as u8);
            }
            _ => bytes.extend(((value * 3e4) as i32).to_le_bytes()),
        }
    }
    bytes.truncate(units * dtype.unit_bytes());
    bytes
}

fn options() -> impl Iterator<Item = EncodeOptions> {
    let rules = [SymbolRule::Auto, SymbolRule::Bytes, SymbolRule::BytePlanes];
    rules.into_iter().flat_map(|rule| {
        [Level::Fast, Level::Max].into_iter().flat_map(move |level| {
            [Choice::Cheapest, Choice::Sample].map(|choice| {
                EncodeOptions::default().rule(rule).level(level).choice(choice).block_log2(14)
            })
        })
    })
}

#[test]
fn messages_are_the_same_and_are_read_alike() {
    let mut random = Random::new(88_172_645_463_325_252);
    for dtype in Dtype::all() {
        for (options, zeros) in options().zip([0, 1, 50, 97].into_iter().cycle()) {
            // A complex number has two units.
            let units = 9_000 + (random.bits() >> 32) as usize % 3_000 / 2 * 2;
            let tensor = tensor(dtype, units, zeros, &mut random);
            let mut messages = Platform::available().map(|platform| {
                let encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
                encoder.with_platform(platform).encode_to_vec(dtype, &tensor).unwrap()
            });
            let message = messages.next().unwrap();
            assert!(messages.all(|other| other == message), "{dtype} {options:?}");
            for platform in Platform::available() {
                let mut decoder = Decoder::builtin().with_platform(platform);
                let (_, restored) = decoder.decode_to_vec(&message).unwrap();
                assert!(restored == tensor, "{dtype} {options:?} {platform}");
            }
        }
    }
}

#[test]
fn damage_without_checksums_is_read_alike() {
    let mut random = Random::new(362_436_069);
    let options = EncodeOptions::default().checksums(false).level(Level::Max);
    for dtype in Dtype::all() {
        let tensor = tensor(dtype, 3_000, 20, &mut random);
        let mut encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        let mut block = Vec::new();
        encoder.encode_block(&Tensor::new(dtype, &tensor), &mut block).unwrap();
        for _ in 0..200 {
            let mut damaged = block.clone();
            let bit = (random.bits() >> 16) as usize % (8 * block.len());
            damaged[bit / 8] ^= 1 << (bit % 8);
            if random.bits() >> 32 & 3 == 0 {
                damaged.truncate((random.bits() >> 16) as usize % block.len());
            }
            let mut results = Platform::available().map(|platform| {
                let mut out = vec![0; tensor.len()];
                let mut decoder = Decoder::builtin().with_platform(platform);
                (decoder.decode_block(&builtin_block(dtype, &damaged), &mut out), out)
            });
            let first = results.next().unwrap();
            assert!(results.all(|other| other == first), "{dtype}, bit {bit}");
        }
    }
}

/// A block that no sample foresees: it does not fit what was chosen, neither its layout nor its room. Platforms
/// notice one or the other first.
#[test]
fn what_was_chosen_wrongly_in_two_ways_is_the_same_everywhere() {
    // The pieces of 64 that a sample has, of a code without loss: 1 to 3 bits and, for 26 symbols, 8.
    let counts = [(0, 4096), (1, 2048), (2, 1024), (3, 64), (4, 64), (5, 64)];
    let rare = (6..32).map(|symbol| (symbol, 32));
    let mut sampled = counts.into_iter().chain(rare).flat_map(|(symbol, n)| vec![symbol; n]);
    let mut random = Random::new(88_172_645_463_325_252);
    let mut sign = move || ((random.bits() >> 32) as u8 & 1) << 5;
    let mut tensor: Vec<u8> = (0..1 << 17)
        .map(|i| match i / 64 % 16 {
            8 => sampled.next().unwrap() | sign(),
            _ => (6 + i % 26) as u8 | sign(),
        })
        .collect();
    tensor[(1 << 17) - 5000] |= 0x40;
    let options = EncodeOptions::default().level(Level::Max);
    let mut messages = Platform::available().map(|platform| {
        let encoder = Encoder::new(CodebookSet::builtin(), options).unwrap();
        encoder.with_platform(platform).encode_to_vec(Dtype::E3m2, &tensor).unwrap()
    });
    let first = messages.next().unwrap();
    assert!(messages.all(|message| message == first));
    assert!(first.len() < tensor.len() * 3 / 4, "what was chosen by a sample is not the last word");
    let decoded = Decoder::builtin().decode_to_vec(&first).unwrap().1;
    assert!(decoded == tensor);
}
